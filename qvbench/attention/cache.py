"""What decoding keeps of past tokens, grown in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Memory = tuple[Tensor, ...]
"""What a mechanism keeps of its memory side: tensors (B, heads, L, width)."""


class Cache:
    """The memory of one self-attention layer: (N, heads, length, width) tensors that grow.

    Room is doubled when it runs out, so that a sentence of T tokens costs O(T) copies, and a
    step reads views of the filled part.
    """

    def __init__(self) -> None:
        self.length = 0
        self._buffers: list[Tensor] = []

    def append(self, memory: Sequence[Tensor]) -> Memory:
        """Add the memory of new tokens (N, heads, new, width); gives back that of all tokens."""
        end = self.length + memory[0].shape[2]
        if not self._buffers or end > self._buffers[0].shape[2]:
            self._grow(memory, end)
        for buffer, new in zip(self._buffers, memory, strict=True):
            buffer[:, :, self.length : end] = new
        self.length = end
        return tuple(buffer[:, :, :end] for buffer in self._buffers)

    def reorder(self, rows: Tensor) -> None:
        """Row n continues old row ``rows[n]``; fewer rows than before drop the others."""
        self._buffers = [buffer.index_select(0, rows) for buffer in self._buffers]

    def numbers(self) -> int:
        """Numbers kept per token, read off the tensors."""
        return sum(buffer.shape[1] * buffer.shape[3] for buffer in self._buffers)

    def _grow(self, memory: Sequence[Tensor], end: int) -> None:
        room = max(16, 2 * end)
        old, self._buffers = self._buffers, []
        for new in memory:
            shape = (new.shape[0], new.shape[1], room, new.shape[3])
            self._buffers.append(torch.empty(shape, dtype=new.dtype, device=new.device))
        for buffer, filled in zip(self._buffers, old, strict=False):
            buffer[:, :, : self.length] = filled[:, :, : self.length]
