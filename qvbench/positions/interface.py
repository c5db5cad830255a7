"""What a position scheme may do, and where: four hooks, each the identity unless given.

Shape letters: B batch, H heads, L length, Lq queries, Lk keys, D head width, d model width.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn


class Position(nn.Module):
    """A position scheme; this base class is the scheme that does nothing.

    A scheme acts in up to four places: on the embeddings (:meth:`embed`), on queries and keys
    (:meth:`rotate`), on the logits (:meth:`coefficient` multiplies, :meth:`bias` adds) and on the
    values (``value_scaling``: the coefficient multiplies them too).

    Unless ``first``, the position of the first query, is given, the queries are the *last*
    ``q_len`` of ``k_len`` positions: one decoding step (one query, the whole past as keys) needs
    no offset.

    Args:
        num_heads: number of query heads, H.
        d_model: model width, for schemes that hold one vector per position.

    Attributes:
        label: display name, for tables and figures.
    """

    absolute: ClassVar[bool] = False
    """Acts on the embeddings, once per stack; otherwise inside self-attention, once per layer."""

    rotates: ClassVar[bool] = False
    """Changes queries and keys: a rotated key cannot be moved to the query's side."""

    shared: bool = False
    """One module serves all layers of a stack, as T5's buckets do; otherwise one a layer."""

    symmetric: bool = False
    """Acts in attention, but alike to the left and to the right of a query: mechanisms whose
    query and key are the same vector gain no direction from it."""

    on_logits: ClassVar[bool] = False
    """Multiplies or adds to logits, by :meth:`coefficient` or :meth:`bias`."""

    by_table: ClassVar[bool] = False
    """The coefficient depends on the signed distance alone: :meth:`coefficient_table` has it."""

    value_scaling: bool = False
    """The coefficient multiplies the values as well as the logits (PCM-V)."""

    def __init__(self, num_heads: int, d_model: int | None = None) -> None:
        super().__init__()
        self.label = type(self).__name__
        self.num_heads = num_heads
        self.d_model = d_model

    def incompatible_with(self, head_dim: int) -> str | None:
        """Why the scheme cannot act on heads of a width, if it cannot."""
        return None

    def symmetry_conflict(self) -> str | None:
        """Why mechanisms whose query and key are one vector refuse the scheme, if they do."""
        if not self.symmetric:
            return None
        return (
            "query and key are the same vector, and the scheme acts alike to both sides of it, so "
            "nothing tells left from right; take directional: true, rope or t5"
        )

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Embeddings (B, L, d), the first of which stands at position ``start``."""
        return x

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """Queries or a copy of the keys (B, H, L, D), the first at position ``start``."""
        return x

    def coefficient_table(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """The coefficient by distance, (H, Lq + Lk - 1), float32; ``None`` without ``by_table``.

        Entry ``n - m + Lq - 1`` is for query m and key n, counted among those that are given.
        """
        return None

    def coefficient(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """Factor (H, Lq, Lk) on the logits, from the table unless given; ``None`` stands for one
        everywhere."""
        table = self.coefficient_table(q_len, k_len, first)
        if table is None:
            return None
        entry = offsets(q_len, k_len, 0, table.device) + q_len - 1
        return table.index_select(1, entry.flatten()).unflatten(1, (q_len, k_len))

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """Term (H, Lq, Lk) added to the scaled logits; ``None`` stands for zero everywhere."""
        return None


def offsets(q_len: int, k_len: int, first: int | None, device: torch.device) -> Tensor:
    """Position of each key less that of each query, (Lq, Lk), int64."""
    start = k_len - q_len if first is None else first
    keys = torch.arange(k_len, device=device)
    return keys - torch.arange(start, start + q_len, device=device)[:, None]


class PositionFactory(Protocol):
    """What a config makes of a scheme: the model calls it once per stack or per layer."""

    def __call__(self, *, num_heads: int, d_model: int) -> Position: ...
