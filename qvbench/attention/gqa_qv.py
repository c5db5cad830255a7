"""GQA-QvVv: the shared value is the key (arXiv:2603.15665, section 9, first direction)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class GQAQV(Attention):
    """Grouped-query attention without keys: ``K_g = V_g = m W_g^V`` for G shared values.

    ``2 d^2 + d G D`` parameters, with D the head width; keeps ``G D`` numbers a token. With as
    many values as query heads it is QV.

    Args:
        d_model: model width, d.
        num_heads: number of query heads, H.
        num_kv_heads: G, a divisor of H.
        settings: as for :class:`Attention`.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, num_kv_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "MQA-QvVv" if num_kv_heads == 1 else f"GQA-QvVv {num_kv_heads}"
        self.num_kv_heads = self.check_divisor("num_kv_heads", num_kv_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_kv_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), self.num_kv_heads),)
