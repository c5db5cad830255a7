"""A single projection: Q = K = V (arXiv:2606.04032, "Q=K=V")."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention
from qvbench.positions.interface import Position


class Single(Attention):
    """``Q_i = x W_i``, ``K_i = V_i = m W_i``: ``2 d^2`` parameters.

    In self-attention its logits are symmetric, as those of tied queries and keys are, and a
    coefficient or bias of the distance alone is refused, since nothing would tell left from
    right. Directional AGF or ALiBi and T5's buckets give the asymmetry for which the source takes
    a 2-D positional encoding.

    Keeps one vector a head, ``d`` numbers a token. Arguments as for :class:`Attention`.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "Q = K = V"
        self.projection = self.linear(d_model, num_heads * self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.projection(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.projection(m), self.num_heads),)

    def incompatible_with(self, position: Position) -> str | None:
        return position.symmetry_conflict() or super().incompatible_with(position)
