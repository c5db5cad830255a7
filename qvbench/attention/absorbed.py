"""Attention whose key matrix is absorbed into the query: decoding makes no keys.

A key that is a matrix times a latent, ``k = W c``, need not be made: ``q . (W c) = (W^T q) . c``.
The matrix moves to the query's side and the cache holds ``c``. A scheme that rotates the key
stands between matrix and query, ``q . (R_n W c_n)``, with another rotation for every key: then
keys are made once, when a token enters the cache, and kept.
"""

from __future__ import annotations

from torch import Tensor

from qvbench.attention import core
from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class AbsorbedAttention(Attention):
    """Base of mechanisms that cache latents, from which keys and values can be up-projected.

    A mechanism defines three methods in place of :meth:`project_kv`: :meth:`latents`,
    :meth:`up_project` and :meth:`attend_latents`, which gives what attention over the up-projected
    keys and values would. Arguments as for :class:`Attention`.
    """

    def latents(self, m: Tensor) -> KV:
        """What tokens (B, Lk, d) leave in the cache: tensors (B, heads, Lk, width)."""
        raise NotImplementedError

    def up_project(self, latents: KV) -> KV:
        """Keys and values from latents, as :meth:`keys_values` takes them."""
        raise NotImplementedError

    def attend_latents(self, q: Tensor, latents: KV, terms: core.Terms) -> Tensor:
        """Attention of rotated and scaled queries (B, H, Lq, Dk) over latents: (B, H, Lq, Dv)."""
        raise NotImplementedError

    @property
    def absorbs(self) -> bool:
        """Whether the position scheme lets the key's matrix move."""
        return not self.position.rotates

    def project_kv(self, m: Tensor) -> KV:
        latents = self.latents(m)
        return latents if self.absorbs else self.up_project(latents)

    def keys_values(self, kv: KV) -> tuple[Tensor, Tensor]:
        return super().keys_values(self.up_project(kv) if self.absorbs else kv)

    def attend_cached(
        self, x: Tensor, kv: KV, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        if not self.absorbs:
            return super().attend_cached(x, kv, mask=mask, causal=causal)
        q = self.queries(x)
        q_len, k_len = q.shape[2], kv[0].shape[2]
        past = k_len - q_len
        mask = core.with_four_axes(mask, (*q.shape[:3], k_len))
        q = self.rotate(q, past) * q.shape[-1] ** -0.5
        terms = self.terms(q_len, k_len, mask, causal, past)
        return self.merge(self.attend_latents(q, kv, terms))
