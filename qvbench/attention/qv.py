"""QV: the value is the key (arXiv:2603.15665, equation 2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class QV(Attention):
    """``Q_i = x W_i^Q``, ``V_i = m W_i^V``, ``K_i = V_i``: ``3 d^2`` parameters.

    Caches values alone, ``d`` elements per token. Arguments as for :class:`Attention`.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "QV"
        self.query = self.linear(d_model, self.num_heads * self.head_dim)
        self.value = self.linear(d_model, self.num_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), self.num_heads),)
