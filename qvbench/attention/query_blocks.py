"""Attention a block of queries at a time, where all logits at once would fill the memory.

Logits, weights and what a position scheme puts on them take room in the square of the length.
Queries do not need one another: a block of them attends on its own, and its logits are computed
anew for the backward pass rather than kept. What is kept grows with the length alone; a product
more in the backward pass is the price, which short sequences do not pay.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 2**24
"""Logits that are held at once, over batch and heads; 64 MB in float32."""


def attend_in_blocks(
    attend: Callable[[int, int], Tensor], q_len: int, logits_a_query: int
) -> Tensor:
    """Attention of all queries, (B, H, Lq, Dv), from that of queries ``start`` to ``stop``.

    Args:
        attend: (start, stop) to (B, H, stop - start, Dv).
        q_len: number of queries, Lq.
        logits_a_query: what one query needs over batch, heads and keys.
    """
    size = max(1, MAX_LOGITS // logits_a_query)
    if size >= q_len:
        return attend(0, q_len)
    edges = [*range(0, q_len, size), q_len]
    # The last block first: with a causal mask it needs most, and all others fit into what it frees.
    # The other way round every block needs a little more than the one before, and an allocator that
    # keeps what is freed keeps it all.
    blocks = [
        checkpoint(attend, start, stop, use_reentrant=False)
        for start, stop in reversed(list(pairwise(edges)))
    ]
    return torch.cat(blocks[::-1], 2)
