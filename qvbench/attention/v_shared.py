"""V-shared: shared values, full keys (arXiv:2603.15665, section 9, second direction)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class VShared(Attention):
    """``(Q_k V_k) V_v``: values shared by groups of heads, a key of its own for each query head.

    ``3 d^2 + d G D`` parameters for G values of width D; keeps ``d + G D`` numbers a token.

    Args:
        d_model: model width, d.
        num_heads: number of query heads, H.
        num_value_heads: G, a divisor of H; H is QKV.
        settings: as for :class:`Attention`.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, num_value_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = f"V-shared {num_value_heads}"
        self.num_value_heads = self.check_divisor("num_value_heads", num_value_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_value_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        k, v = self.key(m), self.value(m)
        return self.split(k, self.num_heads), self.split(v, self.num_value_heads)
