"""softmax(...)V and dropout, knowing neither mechanisms nor position schemes.

Shape letters: B batch, H heads, Hk and Hv key and value heads (divisors of H), Lq queries,
Lk keys, Dk key width, Dv value width. Boolean masks are true where a query may look.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qvbench.errors import UserError

MAX_LOGITS = 2**24  # held at once, over batch and heads; 64 MB in float32
# Computed at once on a CPU: 8 MB, which its caches hold, and its allocator gives out again; what is
# larger than 32 MB, glibc maps anew each time.
CPU_LOGITS = 2**21

_LEVELS = 1 << 16  # of dropout's random numbers
_SAME_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Terms(NamedTuple):
    """What decides on attention besides queries, keys and values."""

    # Broadcastable to (B, H, Lq, Lk). A query that may look nowhere gets zeros.
    mask: Tensor | None = None
    causal: bool = False  # queries, the last Lq of Lk positions, see no later key
    coefficient: Tensor | None = None  # (H, Lq, Lk), multiplies the logits
    bias: Tensor | None = None  # (H, Lq, Lk) or (B, H, Lq, Lk), added to the logits
    value_scaling: bool = False  # the coefficient multiplies the values too (PCM-V)
    dropout_p: float = 0.0  # probability with which a weight is dropped


PLAIN = Terms()


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """``softmax(q k^T / sqrt(Dk))  v``, with whatever a position scheme adds to it.

    PyTorch's ``scaled_dot_product_attention`` does the work where nothing multiplies the logits;
    its mask is additive, so a coefficient needs :func:`weigh`. So does dropout on a CPU.

    (B, H, Lq, Dk), (B, Hk, Lk, Dk) and (B, Hv, Lk, Dv) to (B, H, Lq, Dv), in the values' dtype.
    """
    if terms.coefficient is None and not own_dropout(q, terms.dropout_p):
        return _sdpa(q, k, v, terms)
    # Scaled before the product: the sum of Dk products of fp16 numbers overflows sooner.
    return weigh(grouped_product(q * q.shape[-1] ** -0.5, k.mT), v, terms)


def weigh(logits: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """Values (B, Hv, Lk, Dv) weighed by scaled logits (B, H, Lq, Lk): (B, H, Lq, Dv)."""
    weights = dropout(attention_weights(logits, terms), terms.dropout_p)
    return grouped_product(weights.to(v.dtype), v)


def attention_weights(logits: Tensor, terms: Terms) -> Tensor:
    """Weights before dropout, (B, H, Lq, Lk), of scaled logits; PCM-V's coefficient is in them.
    Softmax and coefficient are taken in float32 at least, whatever the logits are in."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    q_len, k_len = logits.shape[-2:]
    mask = combine_masks(terms.mask, terms.causal, q_len, k_len, logits.device)
    coefficient, bias = terms.coefficient, terms.bias
    if mask is not None:  # hidden keys by what is added: no pass over the logits for them alone
        hidden = logits.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(logits.dtype).min)
        bias = hidden if bias is None else bias + hidden
    if bias is None:
        logits = logits if coefficient is None else logits * coefficient
    elif coefficient is None:
        logits = logits + bias
    else:
        logits = torch.addcmul(bias, logits, coefficient)
    weights = logits.softmax(-1)
    if mask is not None and (terms.mask is not None or q_len > k_len):
        weights = weights.masked_fill(~mask, 0.0)  # of rows that allow no key
    if terms.value_scaling and terms.coefficient is not None:
        weights = weights * terms.coefficient
    return weights


def own_dropout(q: Tensor, dropout_p: float) -> bool:
    """Whether dropout is ours, on weights that are held: PyTorch has no kernel for it on a CPU."""
    return dropout_p > 0.0 and q.device.type == "cpu"


def in_query_blocks(
    weighted_sum: Callable[[int, int], Tensor],
    q_len: int,
    logits_per_query: int,
    device: torch.device,
) -> Tensor:
    """Attention a block of queries at a time, where all logits at once would fill the memory, or
    take longer than in parts.

    Past ``MAX_LOGITS`` a block's logits are computed anew for the backward pass rather than kept:
    memory grows with the length, not its square, at the price of another product.

    ``weighted_sum`` takes (start, stop) to the values' sums of these queries, (B, H, stop - start,
    Dv). ``logits_per_query`` are held over batch, heads and keys.
    """
    logits = logits_per_query * q_len
    at_once = min(MAX_LOGITS, CPU_LOGITS) if device.type == "cpu" else MAX_LOGITS
    if logits <= at_once:
        return weighted_sum(0, q_len)
    size = max(1, at_once // logits_per_query)
    edges = [*range(0, q_len, size), q_len]
    # The last block first: with a causal mask it needs most, and all others fit into what it frees.
    # The other way round each needs a little more than an allocator has kept of those before.
    blocks = [
        weighted_sum(start, stop)
        if logits <= MAX_LOGITS
        else checkpoint(weighted_sum, start, stop, use_reentrant=False)
        for start, stop in reversed(list(pairwise(edges)))
    ]
    return torch.cat(blocks[::-1], 2)


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Products in the dtype of their operands."""
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on for the device of ``x``. The meta device knows none."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def with_four_axes(mask: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """A mask (B, Lk) or (B or 1, H or 1, Lq or 1, Lk) as the latter, for a ``shape`` B, H, Lq, Lk;
    UserError if it is neither, or not boolean."""
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        raise UserError(f"attention: a mask is boolean, got {mask.dtype}")
    if mask.shape == (shape[0], shape[3]):
        return mask[:, None, None, :]
    fits = mask.dim() == 4 and mask.shape[3] == shape[3]
    if not fits or any(n not in (1, full) for n, full in zip(mask.shape, shape, strict=True)):
        allowed = f"(B, Lk) or (B or 1, H or 1, Lq or 1, Lk) with B, H, Lq, Lk = {shape}"
        raise UserError(f"attention: a mask is {allowed}; got {tuple(mask.shape)}")
    return mask


def combine_masks(
    mask: Tensor | None, causal: bool, q_len: int, k_len: int, device: torch.device
) -> Tensor | None:
    """One boolean mask broadcastable to (B, H, Lq, Lk), or ``None`` if every key is visible."""
    if not causal or q_len == 1:  # the one query of a decoding step is the last position
        return mask
    allowed = torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)
    return allowed if mask is None else mask & allowed


def repeat_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, G, L, D) to (B, H, L, D), each head H / G times; as it is where G is H or broadcasts."""
    if x.shape[1] in (1, num_heads):
        return x
    return x.repeat_interleave(num_heads // x.shape[1], dim=1)


def grouped_product(x: Tensor, y: Tensor) -> Tensor:
    """(B, H, L, W) times (B, G, W, N), of which H / G heads share each: (B, H, L, N). One product
    per group, so that what is shared is read once; broadcasting would copy it."""
    groups, length = y.shape[1], x.shape[2]
    if groups == x.shape[1]:
        return x @ y
    rows = x.unflatten(1, (groups, -1)).flatten(2, 3)
    return (rows @ y).unflatten(2, (-1, length)).flatten(1, 2)


def per_head_product(x: Tensor, weight: Tensor) -> Tensor:
    """(B, H, L, D) times each head's matrix (H, D, E): (B, H, L, E). One product per head over all
    B * L tokens; broadcasting would make B * H small ones."""
    rows = x.transpose(0, 1).flatten(1, 2)
    return (rows @ weight).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """Through PyTorch's kernel, which takes a causal flag or a mask, not both."""
    wide = torch.is_grad_enabled() or terms.bias is not None
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and wide:
        # The backward pass of PyTorch's CPU kernel is ten times slower in bfloat16 than in float32,
        # and it takes a bias in the dtype of the queries, in which a far key's is too coarse.
        with torch.autocast("cpu", enabled=False):
            return _sdpa(q.float(), k.float(), v.float(), terms).to(v.dtype)
    q_len, k_len = q.shape[-2], k.shape[-2]
    flag = terms.causal and terms.mask is None and terms.bias is None and q_len == k_len > 1
    allowed = None if flag else combine_masks(terms.mask, terms.causal, q_len, k_len, q.device)
    if terms.bias is not None:
        bias = terms.bias.to(q.dtype)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
    heads = q.shape[1]
    if not k.shape[1] == v.shape[1] == heads:
        # PyTorch's enable_gqa gives wrong numbers, and no error, for V-shared's fewer value heads.
        k, v = (repeat_heads(x, heads).expand(-1, heads, -1, -1) for x in (k, v))
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed, dropout_p=terms.dropout_p, is_causal=flag
    )


class _SixteenBitDropout(torch.autograd.Function):
    """Dropout from 16 random bits per element, four elements to a draw of the generator: PyTorch's
    CPU kernel draws a double per element and takes most of a small layer's time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        # All ones where an element stays: PyTorch multiplies by booleans ten times more slowly
        # than it takes bits away.
        keep = bits.ge_(round(p * _LEVELS) - _LEVELS // 2).neg_()
        ctx.save_for_backward(keep)
        ctx.scale = 1.0 / (1.0 - p)
        return _kept(x, keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _kept(grads[0], keep).mul_(ctx.scale), None


def _kept(x: Tensor, keep: Tensor) -> Tensor:
    """A copy of ``x`` with zeros where the int16 ``keep`` is 0, not -1."""
    integer = _SAME_SIZE[x.itemsize]
    return (x.contiguous().view(integer) & keep.to(integer)).view(x.dtype)


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """In training, zero each element with probability ``p`` in [0, 1) and scale the rest by
    ``1 / (1 - p)``; else ``x``."""
    if p == 0.0 or not training:
        return x
    coarse = p > 1 - 1 / _LEVELS  # 16 bits would round it to one
    if x.device.type != "cpu" or torch.compiler.is_compiling() or coarse:
        return F.dropout(x, p)
    result: Tensor = _SixteenBitDropout.apply(x, p)
    return result
