"""Tied queries and keys: Q = K (arXiv:2606.04032, "Q=K-V")."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention
from qvbench.positions.interface import Position


class QKTied(Attention):
    """``Q_i = x W_i``, ``K_i = m W_i``, ``V_i = m W_i^V``: ``3 d^2`` parameters.

    In self-attention the logits are symmetric: what token m is to n, n is to m, and a token is
    most alike to itself. Positions added to the embeddings leave them symmetric, which is the
    source's plain form. The source breaks the symmetry by a 2-D positional encoding, a term for
    each pair of query and key; directional AGF or ALiBi and T5's buckets, which hold keys left
    and right of the query apart, are such terms. A coefficient or bias of the distance alone is
    refused: it is symmetric too, and nothing would tell left from right. (Rotations leave the
    logits symmetric, but know the order of the tokens.)

    Keeps keys and values, ``2 d`` numbers a token. Arguments as for :class:`Attention`.
    """

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "Q = K"
        self.query_key = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_heads * self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.query_key(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        k, v = self.query_key(m), self.value(m)
        return self.split(k, self.num_heads), self.split(v, self.num_heads)

    def incompatible_with(self, position: Position) -> str | None:
        return position.symmetry_conflict() or super().incompatible_with(position)
