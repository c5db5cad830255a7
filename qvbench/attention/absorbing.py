"""Mechanisms that score queries against what they remember, without making keys of it.

A key that is a matrix times something leaner, ``k = W c``, need not be made: ``q . (W c) =
(W^T q) . c``. The matrix moves to the query's side and the cache keeps ``c``. A scheme that rotates
the key stands between matrix and query, ``q . (R_n W c_n)``, with another rotation for every key:
then keys are made once, when a token is remembered, and kept. (What they are made from would
determine them still, but every step would have to make all past keys again.)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention import core
from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class AbsorbingAttention(Attention):
    """Base of mechanisms with a lean memory, from which keys and values can be expanded.

    A mechanism defines :meth:`compress`, :meth:`expand`, :meth:`scores` and :meth:`mixed`.
    Arguments as for :class:`Attention`.
    """

    # What a mechanism says

    def compress(self, m: Tensor) -> KV:
        """The lean memory of tokens (B, Lk, d): tensors (B, heads, Lk, width)."""
        raise NotImplementedError

    def expand(self, lean: KV) -> KV:
        """What is kept of a lean memory if keys must be: tensors (B, heads, Lk, width)."""
        raise NotImplementedError

    def scores(self, q: Tensor, lean: KV) -> Tensor:
        """Logits (B, H, Lq, Lk) of scaled queries (B, H, Lq, Dk) against a lean memory."""
        raise NotImplementedError

    def mixed(self, lean: KV) -> Tensor:
        """What the weights sum up: values, or what they are made from, (B, heads, Lk, width)."""
        raise NotImplementedError

    def values_from(self, mixed: Tensor) -> Tensor:
        """Sums of :meth:`mixed` (B, H, Lq, width) to sums of values (B, H, Lq, Dv)."""
        return mixed

    # What they have in common

    @property
    def absorbs(self) -> bool:
        """Whether the position scheme leaves the key's matrix free to move."""
        return not self.position.rotates

    def project_kv(self, m: Tensor) -> KV:
        lean = self.compress(m)
        return lean if self.absorbs else self.expand(lean)

    def keys_values(self, memory: KV) -> tuple[Tensor, Tensor]:
        return super().keys_values(self.expand(memory) if self.absorbs else memory)

    def attend_cached(
        self, x: Tensor, memory: KV, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """As written for the base class, with the key's matrix on the query's side."""
        if not self.absorbs:
            return super().attend_cached(x, memory, mask=mask, causal=causal)
        q = self.queries(x)
        q_len, k_len = q.shape[2], memory[0].shape[2]
        q = self.rotate(q, k_len - q_len) * q.shape[-1] ** -0.5
        settings = self.kernel_settings(q_len, k_len, mask, causal, k_len - q_len)
        return self.merge(self.values_from(self.look_up(q, memory, settings)))

    def look_up(self, q: Tensor, lean: KV, settings: dict[str, Any]) -> Tensor:
        """Scaled queries (B, H, Lq, Dk) to sums of :meth:`mixed` (B, H, Lq, width).

        ``settings`` are those of :func:`~qvbench.attention.core.weigh`.
        """
        return core.weigh(self.scores(q, lean), self.mixed(lean), **settings)
