"""GQA: groups of query heads share a key and a value (arXiv:2305.13245; MQA: arXiv:1911.02150)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class GQA(Attention):
    """Grouped-query attention: ``G`` key-value heads, shared by ``H / G`` query heads each.

    ``2 d^2 + 2 d G D`` parameters, with D the head width; keeps ``2 G D`` numbers a token. The
    paper reads it as ``Q_v . K_v V_v`` (arXiv:2603.15665, section 9, equation 5).

    Args:
        d_model: model width, d.
        num_heads: number of query heads, H.
        num_kv_heads: G, a divisor of H; 1 is multi-query attention (MQA), H is QKV.
        settings: as for :class:`Attention`.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, num_kv_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "MQA" if num_kv_heads == 1 else f"GQA {num_kv_heads}"
        self.num_kv_heads = self.check_divisor("num_kv_heads", num_kv_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, num_kv_heads * self.head_dim)
        self.value = self.linear(d_model, num_kv_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        groups = self.num_kv_heads
        return self.split(self.key(m), groups), self.split(self.value(m), groups)
