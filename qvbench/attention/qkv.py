"""QKV: attention with keys and values of their own (arXiv:2603.15665, equations 1 and 7)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import Memory
from qvbench.attention.cost import Cost
from qvbench.attention.interface import Attention


class QKV(Attention):
    """``Q_i = x W_i^Q``, ``K_i = m W_i^K``, ``V_i = m W_i^V``: ``4 d^2`` parameters.

    Keeps keys and values, ``2 d`` numbers a token. Arguments as for :class:`Attention`.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        width = self.num_heads * self.head_dim
        self.query = self.linear(d_model, width)
        self.key = self.linear(d_model, width)
        self.value = self.linear(d_model, width)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.query(x), self.num_heads)

    def remember(self, m: Tensor) -> Memory:
        return self.split(self.key(m), self.num_heads), self.split(self.value(m), self.num_heads)

    def keys_values(self, memory: Memory) -> tuple[Tensor, Tensor]:
        k, v = memory
        return k, v

    @property
    def cache_layout(self) -> tuple[tuple[int, int], ...]:
        return (self.num_heads, self.head_dim), (self.num_heads, self.head_dim)

    @property
    def cost(self) -> Cost:
        d, key_width, width = self.d_model, self.key.out_features, self.value.out_features
        return Cost(
            query=d * (key_width + width),
            memory=d * (key_width + width),
            key=0,
            pair=key_width + width,
        )
