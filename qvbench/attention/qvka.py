"""QV-Ka: the key is made from the value and a small context (arXiv:2603.15665, equation 8)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.cache import KV
from qvbench.attention.interface import AbsorbedAttention


class QVKa(AbsorbedAttention):
    """``V_i = m W_i^V``, ``G = m W_ctx``, ``K_i = [G; V_i] W_i^K``: key after value and context.

    ``W_i^K`` is ``(C + D) x D``; ``3 d^2 + d C + H (C + D) D`` parameters with a shared context,
    which is the paper's form: equation 8 gives ``G`` no head index.

    Absorbed, ``q . ([G; V_i] W_i^K) = (q W_i^K^T) . [G; V_i]``, so decoding caches ``V`` and ``G``
    alone: ``d + C`` elements per token. A scheme that rotates the key forbids that: ``2 d``.

    Args:
        context_dim: width C of the context; the head width (the paper's 1x) if not given.
        context: ``shared`` by all heads, or ``per_head`` (larger than QKV at the default width).
        num_value_heads: values shared by groups of heads, a divisor of H; H if not given. With
            one value the cache holds ``D + C`` elements per token. Neither paper has it.
    """

    caches_keys = True

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        context: Literal["shared", "per_head"] = "shared",
        num_value_heads: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.check_positive(context_dim=context_dim)
        self.context_dim = context_dim or self.head_dim
        self.context_heads = num_heads if context == "per_head" else 1
        self.num_value_heads = num_heads
        self.label = f"QV-Ka {self.context_dim / self.head_dim:g}×"  # noqa: RUF001 - multiplied
        if context == "per_head":
            self.label += ", context per head"
        if num_value_heads is not None:
            self.num_value_heads = self.check_divisor("num_value_heads", num_value_heads)
            self.label += f", values of {num_value_heads}"
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, self.num_value_heads * self.head_dim)
        self.context = self.linear(d_model, self.context_heads * self.context_dim)
        self.key_weight = self.per_head_weight(self.context_dim + self.head_dim, self.head_dim)
        self.key_bias: nn.Parameter | None = None
        if self.bias:
            self.key_bias = nn.Parameter(torch.zeros(num_heads, 1, self.head_dim))

    def latents(self, m: Tensor) -> KV:
        g = self.split(self.context(m), self.context_heads)
        return g, self.split(self.value(m), self.num_value_heads)

    def up_project(self, latents: KV) -> KV:
        g, v = latents
        own = core.repeat_heads(v, self.num_heads)
        pair = [x.expand(-1, self.num_heads, -1, -1) for x in (g, own)]
        k = core.per_head_product(torch.cat(pair, -1), self.key_weight)  # [G; V_i] W_i^K
        return k if self.key_bias is None else k + self.key_bias, v

    def attend_latents(self, q: Tensor, latents: KV, terms: core.Terms) -> Tensor:
        g, v = latents
        moved = core.per_head_product(q, self.key_weight.mT)  # q W_i^K^T
        q_context, q_value = moved.split([self.context_dim, self.head_dim], -1)
        of_context = core.grouped_product(q_context, g.mT)
        if self.key_bias is not None:  # constant over the keys, but a coefficient multiplies it
            of_context = of_context + q @ self.key_bias.mT
        if terms.coefficient is not None:
            return core.weigh(of_context + core.grouped_product(q_value, v.mT), v, terms)
        # The value is the key, and the context's part of the logits a bias, for a kernel that
        # reads the value once.
        bias = of_context if terms.bias is None else of_context + terms.bias
        unscaled = q_value * self.head_dim**0.5  # the kernel scales again
        return core.softmax_attention(unscaled, v, v, terms._replace(bias=bias))
