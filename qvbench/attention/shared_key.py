"""Shared key: the "key approximation" reading of QV-Ka, which is not the paper's equation 8."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class SharedKey(Attention):
    """``K = m W_shared``: one key of a head's width for all heads, learned or frozen.

    A popular account of arXiv:2603.15665 takes "Ka" for *key approximation*: no ``W^K``, scores
    from a fixed or shared transformation of the tokens. It stands here so that
    the two can be compared. ``3 d^2 + d D`` parameters, with D the head width; caches ``d + D``
    elements per token.

    Args:
        d_model: model width, d.
        num_heads: number of heads, H.
        frozen: keep the shared projection at its initial value.
        settings: as for :class:`Attention`.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, frozen: bool = False, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "shared key, frozen" if frozen else "shared key"
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, self.head_dim).requires_grad_(not frozen)
        self.value = self.linear(d_model, num_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return self.split(self.key(m), 1), self.split(self.value(m), self.num_heads)
