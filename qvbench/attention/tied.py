"""Queries tied to keys, Q = K and Q = K = V (arXiv:2606.04032, "Q=K-V" and "Q=K=V").

In self-attention the logits are symmetric, the source's plain form; it breaks the symmetry by a
term for each pair of query and key, as directional AGF or ALiBi and T5's buckets are. A coefficient
or bias of the distance alone is refused: nothing would tell left from right. (Rotations leave the
logits symmetric, but know the order of the tokens.)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention
from qvbench.positions.interface import Position


class _Tied(Attention):
    """Query and key are one vector."""

    def incompatible_with(self, position: Position) -> str | None:
        if not position.symmetric:
            return super().incompatible_with(position)
        return (
            "query and key are the same vector, and the scheme acts alike to both sides of it, so "
            "nothing tells left from right; take directional: true, rope or t5"
        )


class QKTied(_Tied):
    """``Q_i = x W_i``, ``K_i = m W_i``, ``V_i = m W_i^V``: ``3 d^2`` parameters.

    Caches keys and values, ``2 d`` elements per token.
    """

    caches_keys = True

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "Q = K"
        self.query_key = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_heads * self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.query_key(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        return self.queries(m), self.split(self.value(m), self.num_heads)


class Single(_Tied):
    """``Q_i = x W_i``, ``K_i = V_i = m W_i``: ``2 d^2`` parameters.

    Caches one vector per head, ``d`` elements per token.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "Q = K = V"
        self.projection = self.linear(d_model, num_heads * self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.projection(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        return (self.queries(m),)
