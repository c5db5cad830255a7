"""Keyless attention: queries routed into value space (arXiv:2606.21848, three factors)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class Keyless(Attention):
    """``Q_i = x W_i^Q M_i``, ``K_i = V_i = m W_i^V``: ``3 d^2 + H D^2`` parameters.

    The source's factorization of depth 3: a square map ``M_i`` for each head takes the query into
    the space of values before it meets them. Two matrices in a row are one: decoding multiplies
    ``W_i^Q M_i`` once and costs what QV's does. With identity maps it is QV.

    Caches values alone, ``d`` elements per token.
    """

    query: nn.Linear

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_heads * self.head_dim)
        self.routing = self.per_head_weight(self.head_dim, self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        if self.products is not None:
            return self.split(nn.functional.linear(x, *self.products), self.num_heads)
        return core.per_head_product(self.split(self.query(x), self.num_heads), self.routing)

    def precompute(self) -> tuple[Tensor, Tensor | None]:
        def multiply(rows: Tensor) -> Tensor:  # (n, H * D) to (H * D, n)
            heads = rows.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
            return (heads @ self.routing).mT.flatten(0, 1).contiguous()

        bias = self.query.bias
        with core.without_autocast(self.routing):
            product = multiply(self.query.weight.mT)
            return product, None if bias is None else multiply(bias[None])[:, 0]

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), self.num_heads),)
