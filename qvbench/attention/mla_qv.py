"""MLA-QvVv: latent attention without keys (arXiv:2603.15665, section 9, first direction)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qvbench.attention import core
from qvbench.attention.absorbing import AbsorbingAttention
from qvbench.attention.cache import KV
from qvbench.attention.latent import Latent, LatentProjection, check_ranks


class MLAQV(AbsorbingAttention):
    """``V_i = c W_i^UV`` from a latent ``c`` of the token, and ``K_i = V_i``.

    Decoding keeps the latent alone: the up-projection moves to the query's side for the scores
    and behind the weighted sum for the values. A scheme that rotates a copy of the value as key
    forbids that; then the values are kept, ``d`` numbers a token.

    Args:
        d_model: model width, d.
        num_heads: number of heads, H.
        value_rank: width of the latent; a quarter of d if not given.
        query_rank: width of the query's latent; none if not given.
        latent_norm: RMS norm on every latent, as in DeepSeek-V2.
        bias: on the projections of tokens; up-projections have none.
        settings: as for :class:`Attention`.
    """

    query: LatentProjection

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        value_rank: int | None = None,
        query_rank: int | None = None,
        latent_norm: bool = True,
        bias: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(d_model, num_heads, bias=bias, **settings)
        self.label = "MLA-QvVv"
        check_ranks(self, value_rank=value_rank, query_rank=query_rank)
        self.value_rank = value_rank or max(1, d_model // 4)
        width = num_heads * self.head_dim
        self.value_latent = Latent(d_model, self.value_rank, bias=bias, norm=latent_norm)
        self.query = LatentProjection(d_model, width, rank=query_rank, bias=bias, norm=latent_norm)
        self.value = torch.nn.Linear(self.value_rank, width, bias=False)

    def compress(self, m: Tensor) -> KV:
        return (self.value_latent(m)[:, None],)

    def expand(self, lean: KV) -> KV:
        (c,) = lean
        return (self.split(self.value(c[:, 0]), self.num_heads),)

    def scores(self, q: Tensor, lean: KV) -> Tensor:
        (c,) = lean
        return core.shared_product(core.head_by_head(q, self._up), c.mT)

    def mixed(self, lean: KV) -> Tensor:
        return lean[0]

    def values_from(self, mixed: Tensor) -> Tensor:
        return core.head_by_head(mixed, self._up.mT)

    @property
    def _up(self) -> Tensor:
        """Each head's up-projection, (H, D, rank)."""
        return self.value.weight.unflatten(0, (self.num_heads, -1))
