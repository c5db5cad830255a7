"""Attention through latents: MLA (DeepSeek-V2, arXiv:2405.04434, section 2.1) and MLA-QvVv.

Shape letters beside the common ones: R rotary width, Ck and Cv widths of the latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.absorbed import AbsorbedAttention
from qvbench.attention.cache import KV
from qvbench.errors import UserError
from qvbench.positions.interface import Position


class Latent(nn.Module):
    """Down-projection ``c = RMSNorm(x W)`` (arXiv:2405.04434, equations 9 and 12).

    The norm is in the paper's text (section 3.1.2) and code, not in its equations.

    Args:
        d_model: width of the token.
        rank: width of the latent.
        bias: of the projection.
        norm: normalize the latent; without it, up-projection after down-projection is one matrix.
    """

    def __init__(self, d_model: int, rank: int, *, bias: bool, norm: bool) -> None:
        super().__init__()
        self.down = nn.Linear(d_model, rank, bias=bias)
        self.norm = nn.RMSNorm(rank, eps=1e-6) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, rank)."""
        c: Tensor = self.down(x)
        wide = torch.promote_types(c.dtype, torch.float32)
        return self.norm(c.to(wide)).to(c.dtype)


class LatentProjection(nn.Module):
    """Queries' projection: through a latent of its own, or straight from the token.

    Args:
        d_model: width of the token.
        width: width of the result.
        rank: of the latent; none if not given.
        bias: of what projects the token; after a latent, there is none.
        norm: normalize the latent.
    """

    def __init__(
        self, d_model: int, width: int, *, rank: int | None, bias: bool, norm: bool
    ) -> None:
        super().__init__()
        self.latent = Latent(d_model, rank, bias=bias, norm=norm) if rank else None
        self.up = nn.Linear(rank or d_model, width, bias=bias and not rank)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, width)."""
        projected: Tensor = self.up(x if self.latent is None else self.latent(x))
        return projected


class MLA(AbsorbedAttention):
    """Keys and values up-projected from a latent, with a decoupled rotary part.

    ``K_i = [c^K W_i^UK ; r]``, ``V_i = c^V W_i^UV``, ``Q_i = [u W_i^UQ ; u W_i^QR]``, where ``c``
    are latents of the token, ``u`` is the query's latent or the token itself, and ``r = m W^KR``
    is one key of width R for all heads. The published form has one latent for key and value. One of
    its own for the key, wider than the value's, is the paper's "milder key compression"
    (arXiv:2603.15665, section 9, third direction).

    A rotating position scheme acts on the rotary part and on nothing else: with ``rope`` this is
    DeepSeek-V2's attention. With a scheme that acts on the logits, and in cross-attention, there
    is no such part. Hence the cache holds the latents and ``r``, ``Cv + R`` or ``Ck + Cv + R``
    elements per token, whatever the scheme: ``W^UK`` is absorbed into the query, ``W^UV`` into
    what follows the weighted sum.

    Args:
        d_model: model width, d.
        num_heads: number of heads, H.
        value_rank: Cv; a quarter of d if not given, which at the paper's size is DeepSeek-V2's
            four head widths.
        key_rank: Ck, of a latent of its own for the key; made from the value's if not given.
        query_rank: width of the query's latent; none if not given.
        rope_dim: R, even; half a head's width if not given, as DeepSeek-V2 has it.
        latent_norm: RMS norm on every latent, as published.
        bias: on the projections of tokens; up-projections have none, as in DeepSeek-V2's code.
        settings: as for :class:`Attention`.
    """

    query: LatentProjection

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        value_rank: int | None = None,
        key_rank: int | None = None,
        query_rank: int | None = None,
        rope_dim: int | None = None,
        latent_norm: bool = True,
        bias: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(d_model, num_heads, bias=bias, **settings)
        self.label = "MLA, own key latent" if key_rank else "MLA"
        if rope_dim is not None and (rope_dim < 2 or rope_dim % 2):
            raise UserError(f"MLA: rope_dim must be even and at least 2, got {rope_dim}")
        self.check_positive(value_rank=value_rank, key_rank=key_rank, query_rank=query_rank)
        self.rope_dim = 0
        if self.position.rotates:
            self.rope_dim = rope_dim or max(2, self.head_dim // 4 * 2)
        self.value_rank = value_rank or max(1, d_model // 4)
        self.key_rank = key_rank or self.value_rank
        width = num_heads * self.head_dim
        self.value_latent = Latent(d_model, self.value_rank, bias=bias, norm=latent_norm)
        self.key_latent = (
            Latent(d_model, key_rank, bias=bias, norm=latent_norm) if key_rank else None
        )
        self.query = LatentProjection(
            d_model,
            width + num_heads * self.rope_dim,
            rank=query_rank,
            bias=bias,
            norm=latent_norm,
        )
        self.key = nn.Linear(self.key_rank, width, bias=False)
        self.value = nn.Linear(self.value_rank, width, bias=False)
        self.rotary_key = self.linear(d_model, self.rope_dim) if self.rope_dim else None

    def incompatible_with(self, position: Position) -> str | None:
        """None: the rotary part has a width of its own."""
        return None

    @property
    def absorbs(self) -> bool:
        """Always: what a scheme rotates is apart from what is absorbed."""
        return True

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """The last R columns of queries or keys (B, H, L, D + R) rotated, if there are any."""
        if not self.rope_dim:
            return x
        plain, rotary = x.split([x.shape[-1] - self.rope_dim, self.rope_dim], -1)
        return torch.cat((plain, self.position.rotate(rotary, start)), -1)

    def latents(self, m: Tensor) -> KV:
        parts = [self.value_latent(m)]
        if self.key_latent is not None:
            parts.append(self.key_latent(m))
        if self.rotary_key is not None:
            parts.append(self.rotary_key(m))
        return tuple(part[:, None] for part in parts)

    def up_project(self, latents: KV) -> KV:
        c_value, c_key, rotary = self._parts(latents)
        v = self.split(self.value(c_value[:, 0]), self.num_heads)
        k = self.split(self.key(c_key[:, 0]), self.num_heads)
        if rotary is not None:
            k = torch.cat((k, rotary.expand(-1, self.num_heads, -1, -1)), -1)
        return k, v

    def scores(self, q: Tensor, latents: KV) -> Tensor:
        _, c_key, rotary = self._parts(latents)
        plain, q_rotary = q.split([self.head_dim, self.rope_dim], -1)
        up = self.key.weight.unflatten(0, (self.num_heads, -1))  # (H, D, Ck)
        logits = core.grouped_product(core.per_head_product(plain, up), c_key.mT)
        if rotary is not None:
            keys = self.position.rotate(rotary)
            logits = logits + core.grouped_product(q_rotary, keys.mT)
        return logits

    def value_input(self, latents: KV) -> Tensor:
        return latents[0]

    def values_from(self, sums: Tensor) -> Tensor:
        up = self.value.weight.unflatten(0, (self.num_heads, -1))  # (H, D, Cv)
        return core.per_head_product(sums, up.mT)

    def _parts(self, latents: KV) -> tuple[Tensor, Tensor, Tensor | None]:
        """The value's latent, the key's, and the rotary key."""
        key = latents[int(self.key_latent is not None)]
        return latents[0], key, latents[-1] if self.rope_dim else None


class MLAQV(AbsorbedAttention):
    """MLA without keys, MLA-QvVv (arXiv:2603.15665, section 9, first direction).

    ``V_i = c W_i^UV`` from a latent ``c`` of the token, and ``K_i = V_i``. The cache holds the
    latent alone: the up-projection is absorbed into the query for the scores, and follows the
    weighted sum for the values. A scheme that rotates a copy of the value as key forbids that;
    then the values are cached, ``d`` elements per token.

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
        self.check_positive(value_rank=value_rank, query_rank=query_rank)
        self.value_rank = value_rank or max(1, d_model // 4)
        width = num_heads * self.head_dim
        self.value_latent = Latent(d_model, self.value_rank, bias=bias, norm=latent_norm)
        self.query = LatentProjection(d_model, width, rank=query_rank, bias=bias, norm=latent_norm)
        self.value = nn.Linear(self.value_rank, width, bias=False)

    def latents(self, m: Tensor) -> KV:
        return (self.value_latent(m)[:, None],)

    def up_project(self, latents: KV) -> KV:
        return (self.split(self.value(latents[0][:, 0]), self.num_heads),)

    def scores(self, q: Tensor, latents: KV) -> Tensor:
        return core.grouped_product(core.per_head_product(q, self._up), latents[0].mT)

    def value_input(self, latents: KV) -> Tensor:
        return latents[0]

    def values_from(self, sums: Tensor) -> Tensor:
        return core.per_head_product(sums, self._up.mT)

    @property
    def _up(self) -> Tensor:
        """Each head's up-projection, (H, D, rank)."""
        return self.value.weight.unflatten(0, (self.num_heads, -1))
