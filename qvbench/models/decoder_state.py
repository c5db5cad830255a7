"""What decoding carries from one token to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qvbench.attention.cache import Cache, moved_rows


@dataclass
class DecoderState:
    """Caches of N hypotheses for B sentences, N / B adjacent ones each.

    Attributes:
        caches: one a layer, the past of each hypothesis.
        sources: one a layer, what cross-attention remembers of each sentence, (B, heads, S, width).
        mask: (B, S), true at source tokens.
        length: tokens decoded so far.
    """

    caches: list[Cache]
    sources: list[Cache]
    mask: Tensor
    length: int = 0

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Hypothesis n continues old hypothesis ``rows[n]`` (N',) of one of ``sentences`` (B',).

        All sentences go on unless given. What goes on in its place is not copied.
        """
        _reorder(self.caches, rows)
        if sentences is not None:
            _reorder(self.sources, sentences)
            self.mask = self.mask.index_select(0, sentences)


def _reorder(caches: list[Cache], rows: Tensor) -> None:
    moved = moved_rows(rows)  # once for all: on a GPU the host waits for it
    for cache in caches:
        cache.reorder(rows, moved)
