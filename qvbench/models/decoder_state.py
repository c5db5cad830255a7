"""What decoding carries from one token to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qvbench.attention.cache import Cache, Memory


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
    sources: list[Memory]
    mask: Tensor
    length: int = 0

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Hypothesis n continues old hypothesis ``rows[n]`` (N',) of one of ``sentences`` (B',).

        All sentences go on unless given; a row is copied once, also where sentences are dropped.
        """
        for cache in self.caches:
            cache.reorder(rows)
        if sentences is not None:
            self.sources = [tuple(t.index_select(0, sentences) for t in s) for s in self.sources]
            self.mask = self.mask.index_select(0, sentences)
