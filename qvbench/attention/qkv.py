"""QKV and QV: keys of their own, and values for keys (arXiv:2603.15665, equations 1, 2 and 7)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention
from qvbench.positions.interface import Position


class QKV(Attention):
    """``Q_i = x W_i^Q``, ``K_i = m W_i^K``, ``V_i = m W_i^V``: ``4 d^2`` parameters.

    Caches keys and values, ``2 d`` elements per token.

    Args:
        head_dim_qk: width of a head's query and key, the width of its value if not given. A wider
            one is the paper's "feature splitting" (section 3, note). In QV the key is the value,
            so there ``head_dim`` widens both.
    """

    caches_keys = True

    def __init__(
        self, d_model: int, num_heads: int, *, head_dim_qk: int | None = None, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = f"QKV, keys {head_dim_qk} wide" if head_dim_qk else "QKV"
        self.check_positive(head_dim_qk=head_dim_qk)
        self.head_dim_qk = head_dim_qk or self.head_dim
        self.refuse(self.position.incompatible_with(self.head_dim_qk))
        self.query = self.linear(d_model, num_heads * self.head_dim_qk)
        self.key = self.linear(d_model, num_heads * self.head_dim_qk)
        self.value = self.linear(d_model, num_heads * self.head_dim)

    def incompatible_with(self, position: Position) -> str | None:
        return None  # keys have a width of their own, refused above

    def project_kv(self, m: Tensor) -> KV:
        return self.split(self.key(m), self.num_heads), self.split(self.value(m), self.num_heads)


class QV(Attention):
    """``Q_i = x W_i^Q``, ``V_i = m W_i^V``, ``K_i = V_i``: ``3 d^2`` parameters.

    Caches values alone, ``d`` elements per token.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.query = self.linear(d_model, self.num_heads * self.head_dim)
        self.value = self.linear(d_model, self.num_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), self.num_heads),)
