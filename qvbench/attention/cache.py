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

    A step reads views of the filled part. Room grows by a quarter when it runs out, so that a
    sentence of T tokens costs O(T) copies; twice as much would be read no faster, since what lies
    between the rows is fetched with them.
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
        end = self.length + new[0].shape[2]
        if not self._buffers:
            self._buffers = [entry[:, :, :0] for entry in new]
        if end > self._buffers[0].shape[2]:
            self._grow(end + end // 4 + SPARE_TOKENS)
        for buffer, entry in zip(self._buffers, new, strict=True):
            buffer[:, :, self.length : end] = entry
        self.length = end
        return self.kv()

    def kv(self) -> KV:
        """The entries of all tokens, as views."""
        return tuple(buffer[:, :, : self.length] for buffer in self._buffers)

    def reorder(self, rows: Tensor, moved: Tensor | None = None) -> None:
        """Row n continues old row ``rows[n]``; fewer rows than before drop the others.

        A row that stays in its place is not copied.

        Args:
            rows: (N',), at most as many as there are.
            moved: :func:`moved_rows` of ``rows``, for a caller that reorders many caches.
        """
        moved = moved_rows(rows) if moved is None else moved
        if len(moved):
            came_from = rows[moved]
            for filled in self.kv():
                filled.index_copy_(0, moved, filled.index_select(0, came_from))
        self._buffers = [buffer[: len(rows)] for buffer in self._buffers]

    def elements_per_token(self) -> int:
        """Elements per token, read off the tensors."""
        return sum(buffer.shape[1] * buffer.shape[3] for buffer in self._buffers)

    def _grow(self, room: int) -> None:
        new = [b.new_empty(*b.shape[:2], room, b.shape[3]) for b in self._buffers]
        for buffer, filled in zip(new, self.kv(), strict=True):
            buffer[:, :, : self.length] = filled
        self._buffers = new


def moved_rows(rows: Tensor) -> Tensor:
    """Those n (M,) for which ``rows[n]`` is not n."""
    return (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
