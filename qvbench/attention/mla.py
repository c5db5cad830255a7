"""MLA: multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).

Shape letters beside the common ones: R rotary width, Ck and Cv widths of the latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qvbench.attention import core
from qvbench.attention.absorbing import AbsorbingAttention
from qvbench.attention.cache import KV
from qvbench.attention.latent import Latent, LatentProjection, check_ranks
from qvbench.errors import UserError
from qvbench.positions.interface import Position


class MLA(AbsorbingAttention):
    """Keys and values up-projected from a latent, with a decoupled rotary part.

    ``K_i = [c^K W_i^UK ; r]``, ``V_i = c^V W_i^UV``, ``Q_i = [u W_i^UQ ; u W_i^QR]``, where ``c``
    are latents of the token, ``u`` is the query's latent or the token itself, and ``r = m W^KR``
    is one key of width R for all heads. The published form has one latent for key and value. One of
    its own for the key, wider than the value's, is the paper's "milder key compression"
    (arXiv:2603.15665, section 9, third direction).

    The rotary part is the place where a rotating position scheme acts, and nothing else is
    rotated: with ``rope`` this is DeepSeek-V2's attention. With a scheme that acts on the logits,
    and in cross-attention, there is no such part. Hence decoding keeps the latents and ``r``,
    ``Cv + R`` or ``Ck + Cv + R`` numbers a token, whatever the scheme: ``W^UK`` moves to the
    query's side, ``W^UV`` behind the weighted sum.

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
        check_ranks(self, value_rank=value_rank, key_rank=key_rank, query_rank=query_rank)
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
        self.key = torch.nn.Linear(self.key_rank, width, bias=False)
        self.value = torch.nn.Linear(self.value_rank, width, bias=False)
        self.rotary_key = self.linear(d_model, self.rope_dim) if self.rope_dim else None

    def incompatible_with(self, position: Position) -> str | None:
        """None: the rotary part has a width of its own."""
        return None

    @property
    def absorbs(self) -> bool:
        """Always: what a scheme rotates is kept apart from what moves."""
        return True

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """The last R columns of queries or keys (B, H, L, D + R) rotated, if there are any."""
        if not self.rope_dim:
            return x
        plain, rotary = x.split([x.shape[-1] - self.rope_dim, self.rope_dim], -1)
        return torch.cat((plain, self.position.rotate(rotary, start)), -1)

    def compress(self, m: Tensor) -> KV:
        parts = [self.value_latent(m)]
        if self.key_latent is not None:
            parts.append(self.key_latent(m))
        if self.rotary_key is not None:
            parts.append(self.rotary_key(m))
        return tuple(part[:, None] for part in parts)

    def expand(self, lean: KV) -> KV:
        c_value, c_key, rotary = self._parts(lean)
        v = self.split(self.value(c_value[:, 0]), self.num_heads)
        k = self.split(self.key(c_key[:, 0]), self.num_heads)
        if rotary is not None:
            k = torch.cat((k, rotary.expand(-1, self.num_heads, -1, -1)), -1)
        return k, v

    def scores(self, q: Tensor, lean: KV) -> Tensor:
        _, c_key, rotary = self._parts(lean)
        plain, q_rotary = q.split([self.head_dim, self.rope_dim], -1)
        up = self.key.weight.unflatten(0, (self.num_heads, -1))  # (H, D, Ck)
        logits = core.shared_product(core.head_by_head(plain, up), c_key.mT)
        if rotary is not None:
            keys = self.position.rotate(rotary)
            logits = logits + core.shared_product(q_rotary, keys.mT)
        return logits

    def mixed(self, lean: KV) -> Tensor:
        return lean[0]

    def values_from(self, mixed: Tensor) -> Tensor:
        up = self.value.weight.unflatten(0, (self.num_heads, -1))  # (H, D, Cv)
        return core.head_by_head(mixed, up.mT)

    def _parts(self, lean: KV) -> tuple[Tensor, Tensor, Tensor | None]:
        """The value's latent, the key's, and the rotary key of a lean memory."""
        return lean[0], lean[int(self.key_latent is not None)], lean[-1] if self.rope_dim else None
