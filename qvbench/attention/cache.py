"""What decoding keeps of past tokens, grown in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

KV = tuple[Tensor, ...]
"""What tokens leave in a decoding cache: tensors (B, heads, L, width)."""

SPARE_TOKENS = 8


class KVCache:
    """The cache of one attention layer: (N, heads, length, width) tensors that grow.

    A step reads views of the filled part. Room grows by a quarter when it runs out; twice as much
    would be slower to read, since what lies between rows is fetched too.
    """

    def __init__(self) -> None:
        self.length = 0
        self._buffers: list[Tensor] = []

    @classmethod
    def of(cls, kv: Sequence[Tensor]) -> KVCache:
        """A copy of ``kv``, (N, heads, length, width), without spare room."""
        cache = cls()
        cache.length = kv[0].shape[2]
        cache._buffers = [tensor.clone() for tensor in kv]
        return cache

    def append(self, new: Sequence[Tensor]) -> KV:
        """Add the entries of new tokens (N, heads, new, width); returns those of all tokens."""
        start, count = self.length, new[0].shape[2]
        end = start + count
        if not self._buffers or end > self._buffers[0].shape[2]:
            room = end + end // 4 + SPARE_TOKENS
            old = self.kv() or tuple(entry[:, :, :0] for entry in new)
            self._buffers = [b.new_empty(*b.shape[:2], room, b.shape[3]) for b in old]
            for buffer, filled in zip(self._buffers, old, strict=True):
                buffer[:, :, :start] = filled
        for buffer, entry in zip(self._buffers, new, strict=True):
            buffer.narrow(2, start, count).copy_(entry)
        self.length = end
        return self.kv()

    def kv(self) -> KV:
        """The entries of all tokens, as views."""
        return tuple(buffer.narrow(2, 0, self.length) for buffer in self._buffers)


def reorder(caches: list[KVCache], rows: Tensor) -> None:
    """Row n continues old row ``rows[n]`` (N',), uncopied if it stays; fewer drop the others."""
    moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
    came_from = rows[moved]
    for cache in caches:
        if len(moved):
            for filled in cache.kv():
                filled.index_copy_(0, moved, filled.index_select(0, came_from))
        cache._buffers = [buffer[: len(rows)] for buffer in cache._buffers]
