"""Attention through latents: MLA (DeepSeek-V2, arXiv:2405.04434, section 2.1) and MLA-QvVv."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.cache import KV
from qvbench.attention.interface import AbsorbedAttention
from qvbench.positions.interface import Position


class Latent(nn.Module):
    """Down-projection ``c = RMSNorm(x W)`` (arXiv:2405.04434, equations 9 and 12).

    The norm is in the paper's text (section 3.1.2) and code, not in its equations.
    """

    def __init__(self, d_model: int, rank: int, bias: bool, norm: bool) -> None:
        super().__init__()
        self.down = nn.Linear(d_model, rank, bias=bias)
        self.norm = nn.RMSNorm(rank, eps=1e-6) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        c: Tensor = self.down(x)
        wide = torch.promote_types(c.dtype, torch.float32)
        return self.norm(c.to(wide)).to(c.dtype)


class QueryProjection(nn.Module):
    """Queries through a latent of their own, after which there is no bias, or from the token."""

    def __init__(self, d_model: int, width: int, rank: int | None, bias: bool, norm: bool) -> None:
        super().__init__()
        self.latent = Latent(d_model, rank, bias, norm) if rank else None
        self.up = nn.Linear(rank or d_model, width, bias=bias and not rank)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x if self.latent is None else self.latent(x))


def per_head(up: nn.Linear, heads: int) -> Tensor:
    """Each head's part of an up-projection: (H, D, rank)."""
    return up.weight.unflatten(0, (heads, -1))


class MLA(AbsorbedAttention):
    """Keys and values up-projected from a latent, with a decoupled rotary part.

    ``K_i = [c^K W_i^UK ; r]``, ``V_i = c^V W_i^UV``, ``Q_i = [u W_i^UQ ; u W_i^QR]``, where ``c``
    are latents of the token, ``u`` is the query's latent or the token itself, and ``r = m W^KR``
    is one key of width R for all heads. The published form has one latent for key and value; a
    wider one for the key is the paper's "milder key compression" (arXiv:2603.15665, section 9,
    third direction).

    A rotating position scheme acts on the rotary part alone: with ``rope`` this is DeepSeek-V2's
    attention; with others, and in cross-attention, there is no such part. ``W^UK`` is absorbed into
    the query, ``W^UV`` into what follows the weighted sum, whatever the scheme: the cache holds the
    latents and ``r``, ``Cv + R`` or ``Ck + Cv + R`` elements per token.

    Args:
        value_rank: Cv; a quarter of d if not given, at the paper's size DeepSeek-V2's.
        key_rank: Ck, of a latent of its own for the key; made from the value's if not given.
        query_rank: width of the query's latent; none if not given.
        rope_dim: R, even; half a head's width if not given, as DeepSeek-V2 has it.
        latent_norm: RMS norm on every latent, as published.
        bias: on the projections of tokens; up-projections have none, as in DeepSeek-V2's code.
    """

    query: QueryProjection

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
        even = rope_dim is None or (rope_dim >= 2 and rope_dim % 2 == 0)
        self.check(even, f"rope_dim must be even and at least 2, got {rope_dim}")
        self.check_positive(value_rank=value_rank, key_rank=key_rank, query_rank=query_rank)
        rope_dim = rope_dim or max(2, self.head_dim // 4 * 2)
        self.rope_dim = rope_dim if self.position.rotates else 0
        value_rank = value_rank or max(1, d_model // 4)
        width = num_heads * self.head_dim
        query_width = num_heads * (self.head_dim + self.rope_dim)
        self.value_latent = Latent(d_model, value_rank, bias, latent_norm)
        self.key_latent = Latent(d_model, key_rank, bias, latent_norm) if key_rank else None
        self.query = QueryProjection(d_model, query_width, query_rank, bias, latent_norm)
        self.key = nn.Linear(key_rank or value_rank, width, bias=False)
        self.value = nn.Linear(value_rank, width, bias=False)
        self.rotary_key = self.linear(d_model, self.rope_dim) if self.rope_dim else None

    def incompatible_with(self, position: Position) -> str | None:
        return None  # the rotary part has a width of its own

    @property
    def absorbs(self) -> bool:
        return True  # what a scheme rotates is apart

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """The last R columns of (B, H, L, D + R)."""
        if not self.rope_dim:
            return x
        plain, rotary = x.split([x.shape[-1] - self.rope_dim, self.rope_dim], -1)
        return torch.cat((plain, self.position.rotate(rotary, start)), -1)

    def latents(self, m: Tensor) -> KV:
        parts = (self.value_latent, self.key_latent, self.rotary_key)
        return tuple(part(m)[:, None] for part in parts if part is not None)

    def cache_entries(self, m: Tensor, start: int = 0) -> KV:
        """Latents, and the rotary key at its position."""
        kv = self.project_kv(m)
        return (*kv[:-1], self.position.rotate(kv[-1], start)) if self.rope_dim else kv

    def up_project(self, latents: KV) -> KV:
        c_value, c_key, rotary = self._named(latents)
        v = self.split(self.value(c_value[:, 0]), self.num_heads)
        k = self.split(self.key(c_key[:, 0]), self.num_heads)
        if rotary is not None:
            k = torch.cat((k, rotary.expand(-1, self.num_heads, -1, -1)), -1)
        return k, v

    def attend_latents(self, q: Tensor, latents: KV, terms: core.Terms) -> Tensor:
        c_value, c_key, rotary = self._named(latents)
        plain, q_rotary = q.split([self.head_dim, self.rope_dim], -1)
        moved = core.per_head_product(plain, per_head(self.key, self.num_heads))
        logits = core.grouped_product(moved, c_key.mT)
        if rotary is not None:
            logits = logits + core.grouped_product(q_rotary, rotary.mT)
        sums = core.weigh(logits, c_value, terms)  # of latents
        return core.per_head_product(sums, per_head(self.value, self.num_heads).mT)

    def _named(self, latents: KV) -> tuple[Tensor, Tensor, Tensor | None]:
        """The value's latent, the key's, and the rotary key."""
        key = latents[int(self.key_latent is not None)]
        return latents[0], key, latents[-1] if self.rope_dim else None


class MLAQV(AbsorbedAttention):
    """MLA without keys, MLA-QvVv (arXiv:2603.15665, section 9, first direction).

    ``V_i = c W_i^UV`` from a latent ``c`` of the token, and ``K_i = V_i``. The cache holds the
    latent alone, unless a scheme rotates a copy of the value as key: then the values, ``d``
    elements per token.

    Args:
        value_rank: width of the latent; a quarter of d if not given.
        query_rank: width of the query's latent; none if not given.
        latent_norm: RMS norm on every latent, as in DeepSeek-V2.
        bias: on the projections of tokens; up-projections have none.
    """

    query: QueryProjection

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
        value_rank = value_rank or max(1, d_model // 4)
        width = num_heads * self.head_dim
        self.value_latent = Latent(d_model, value_rank, bias, latent_norm)
        self.query = QueryProjection(d_model, width, query_rank, bias, latent_norm)
        self.value = nn.Linear(value_rank, width, bias=False)

    def latents(self, m: Tensor) -> KV:
        return (self.value_latent(m)[:, None],)

    def up_project(self, latents: KV) -> KV:
        return (self.split(self.value(latents[0][:, 0]), self.num_heads),)

    def attend_latents(self, q: Tensor, latents: KV, terms: core.Terms) -> Tensor:
        (c,) = latents
        up = per_head(self.value, self.num_heads)
        logits = core.grouped_product(core.per_head_product(q, up), c.mT)
        return core.per_head_product(core.weigh(logits, c, terms), up.mT)
