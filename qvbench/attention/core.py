"""softmax(...)V, knowing neither mechanisms nor position schemes.

Shape letters: B batch, H heads, Hk and Hv key and value heads (divisors of H), Lq queries,
Lk keys, Dk key width, Dv value width. Boolean masks are true where a query may look.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qvbench.attention.dropout import dropout


def causal_mask(q_len: int, k_len: int, device: torch.device) -> Tensor:
    """(Lq, Lk), true where the key is not after the query; queries are the last of the keys."""
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    coefficient: Tensor | None = None,
    bias: Tensor | None = None,
    value_scaling: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """``softmax(q k^T / sqrt(Dk))  v``, with whatever a position scheme adds to it.

    PyTorch's ``scaled_dot_product_attention`` does the work where nothing multiplies the logits;
    its mask is additive, so a coefficient needs :func:`weigh`. So does dropout on a CPU, where
    PyTorch has no kernel for it.

    Args:
        q: (B, H, Lq, Dk).
        k: (B, Hk, Lk, Dk).
        v: (B, Hv, Lk, Dv).
        mask: boolean, broadcastable to (B, H, Lq, Lk). A query that may look nowhere gets zeros.
        causal: queries, the last Lq of Lk positions, see no later key.
        coefficient: (H, Lq, Lk), multiplies the logits.
        bias: (H, Lq, Lk), or (B, H, Lq, Lk), added to the logits.
        value_scaling: the coefficient multiplies the values too (PCM-V).
        dropout_p: probability with which a weight is dropped.

    Returns:
        (B, H, Lq, Dv), in the dtype of the values.
    """
    if coefficient is None and not (dropout_p > 0.0 and q.device.type == "cpu"):
        return _attend_by_sdpa(q, k, v, mask, causal, bias, dropout_p)
    # Scaled before the product: the sum of Dk products of fp16 numbers overflows sooner.
    logits = shared_product(q * q.shape[-1] ** -0.5, k.mT)
    return weigh(
        logits,
        v,
        mask=mask,
        causal=causal,
        coefficient=coefficient,
        bias=bias,
        value_scaling=value_scaling,
        dropout_p=dropout_p,
    )


def weigh(
    logits: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    coefficient: Tensor | None = None,
    bias: Tensor | None = None,
    value_scaling: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """Values (B, Hv, Lk, Dv) weighed by scaled logits (B, H, Lq, Lk): (B, H, Lq, Dv).

    The softmax and the coefficient are taken in float32 at least, whatever the logits are in.
    Other arguments as for :func:`attend`.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if coefficient is not None:
        logits = logits * coefficient
    if bias is not None:
        logits = logits + bias
    q_len, k_len = logits.shape[-2:]
    weights = masked_softmax(logits, combine_masks(mask, causal, q_len, k_len, logits.device))
    if value_scaling and coefficient is not None:
        weights = weights * coefficient
    weights = dropout(weights, dropout_p)
    return shared_product(weights.to(v.dtype), v)


def masked_softmax(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the keys that the mask allows; a row that allows none is all zeros."""
    if mask is None:
        return logits.softmax(-1)
    weights = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def combine_masks(
    mask: Tensor | None, causal: bool, q_len: int, k_len: int, device: torch.device
) -> Tensor | None:
    """One boolean mask broadcastable to (B, H, Lq, Lk), or none if nothing is hidden."""
    if not causal or q_len == 1:  # the one query of a decoding step is the last position
        return mask
    allowed = causal_mask(q_len, k_len, device)
    return allowed if mask is None else mask & allowed


def repeat_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, G, L, D) to (B, H, L, D), each head of a group repeated H / G times, without a copy
    where G is H or 1 (a single head broadcasts)."""
    if x.shape[1] in (1, num_heads):
        return x
    return x.repeat_interleave(num_heads // x.shape[1], dim=1)


def shared_product(x: Tensor, y: Tensor) -> Tensor:
    """(B, H, L, W) times (B, G, W, N), of which H / G heads share each: (B, H, L, N).

    What the heads of a group share takes part in one product with the rows of all of them, so that
    it is read once; broadcasting would copy it for every head.
    """
    groups, length = y.shape[1], x.shape[2]
    if groups == x.shape[1]:
        return x @ y
    rows = x.unflatten(1, (groups, -1)).flatten(2, 3)
    return (rows @ y).unflatten(2, (-1, length)).flatten(1, 2)


def head_by_head(x: Tensor, weight: Tensor) -> Tensor:
    """(B, H, L, D) times each head's matrix (H, D, E): (B, H, L, E).

    One product a head over all B * L tokens; broadcasting over the batch would make B * H small
    ones, at several times the cost on a CPU.
    """
    rows = x.transpose(0, 1).flatten(1, 2)
    return (rows @ weight).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


def _attend_by_sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    bias: Tensor | None,
    dropout_p: float,
) -> Tensor:
    """The same through PyTorch's kernel, which takes a causal flag or a mask, not both."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # The backward pass of PyTorch's CPU kernel is ten times slower in bfloat16 than in float32.
        with torch.autocast("cpu", enabled=False):
            y = _attend_by_sdpa(q.float(), k.float(), v.float(), mask, causal, bias, dropout_p)
        return y.to(v.dtype)
    q_len, k_len = q.shape[-2], k.shape[-2]
    flag = causal and mask is None and bias is None and q_len == k_len and q_len > 1
    allowed = None
    if not flag:
        allowed = combine_masks(mask, causal, q_len, k_len, q.device)
    if bias is not None:
        bias = bias.to(q.dtype)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
    k, v = (repeat_heads(x, q.shape[1]).expand(-1, q.shape[1], -1, -1) for x in (k, v))
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed, dropout_p=dropout_p, is_causal=flag
    )
