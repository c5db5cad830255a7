"""QV-Ka: the key is made from the value and a small context (arXiv:2603.15665, equation 8).

Shape letters beside the common ones: C context width, Hc context heads (1 if shared, else H).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.cache import Memory
from qvbench.attention.interface import Attention
from qvbench.errors import UserError


def head_by_head(x: Tensor, weight: Tensor) -> Tensor:
    """(B, H, L, D) times each head's matrix (H, D, E): (B, H, L, E).

    One product a head over all B * L tokens; broadcasting over the batch would make B * H small
    ones, at several times the cost on a CPU.
    """
    rows = x.transpose(0, 1).flatten(1, 2)
    return (rows @ weight).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


class QVKa(Attention):
    """``V_i = m W_i^V``, ``G = m W_ctx``, ``K_i = [G; V_i] W_i^K``: key after value and context.

    ``W_i^K`` is ``(C + D) x D``. With a shared context the mechanism has
    ``3 d^2 + d C + H (C + D) D`` parameters; equation 8 gives ``G`` no head index, so shared is
    the paper's form.

    The per-head matrix can be moved to the query's side,
    ``q . ([G; V_i] W_i^K) = (q W_i^K^T) . [G; V_i]``, so decoding keeps ``V`` and ``G`` alone:
    ``d + C`` numbers a token. A scheme that rotates the key forbids that.

    Args:
        d_model: model width, d.
        num_heads: number of heads, H.
        context_dim: width C of the context; the head width (the paper's 1x) if not given.
        context: ``shared`` by all heads, or ``per_head`` (then it is larger than QKV).
        settings: as for :class:`Attention`.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        context: Literal["shared", "per_head"] = "shared",
        **settings: Any,
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        if context_dim is not None and context_dim < 1:
            raise UserError(f"QVKa: context_dim must be at least 1, got {context_dim}")
        self.context_dim = context_dim or self.head_dim
        self.context_heads = num_heads if context == "per_head" else 1
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_heads * self.head_dim)
        self.context = self.linear(d_model, self.context_heads * self.context_dim)
        rows = self.context_dim + self.head_dim
        self.key_weight = nn.Parameter(torch.empty(num_heads, rows, self.head_dim))
        for weight in self.key_weight:  # each head's matrix on its own: the fans are a head's
            nn.init.xavier_uniform_(weight)
        self.key_bias: nn.Parameter | None = None
        if self.bias:
            self.key_bias = nn.Parameter(torch.zeros(num_heads, 1, self.head_dim))

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.query(x), self.num_heads)

    def remember(self, m: Tensor) -> Memory:
        return (
            self.split(self.value(m), self.num_heads),
            self.split(self.context(m), self.context_heads),
        )

    def keys_values(self, memory: Memory) -> tuple[Tensor, Tensor]:
        v, g = memory
        pair = torch.cat((g.expand(-1, self.num_heads, -1, -1), v), -1)  # [G; V_i]
        k = head_by_head(pair, self.key_weight)
        return k if self.key_bias is None else k + self.key_bias, v

    def recall(
        self, x: Tensor, memory: Memory, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """As written for the base class, with the key's matrix on the query's side."""
        if self.position.rotates:
            return super().recall(x, memory, mask=mask, causal=causal)
        v, g = memory
        q = self.queries(x) * self.head_dim**-0.5
        moved = head_by_head(q, self.key_weight.mT)
        q_context, q_value = moved.split([self.context_dim, self.head_dim], -1)
        logits = q_context @ g.mT + q_value @ v.mT
        if self.key_bias is not None:  # constant over the keys, but a coefficient multiplies it
            logits = logits + q @ self.key_bias.mT
        settings = self.kernel_settings(x.shape[1], v.shape[2], mask, causal)
        return self.merge(core.weigh(logits, v, **settings))

    @property
    def cache_layout(self) -> tuple[tuple[int, int], ...]:
        return (self.num_heads, self.head_dim), (self.context_heads, self.context_dim)
