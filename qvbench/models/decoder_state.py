"""What decoding carries from one token to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qvbench.attention.cache import Cache, Memory


@dataclass
class DecoderState:
    """Caches of N hypotheses for B sentences, N / B adjacent ones each.

    Attributes:
        caches: one a layer, the past of each hypothesis.
        sources: one a layer, what cross-attention remembers of each sentence, (B, heads, S, width).
        mask: (B, S), true at source tokens.
        copies: hypotheses a sentence, N / B.
        length: tokens decoded so far.
    """

    caches: list[Cache]
    sources: list[Memory]
    mask: Tensor
    copies: int = 1
    length: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Hypothesis n continues old hypothesis ``rows[n]`` (N,) of the same sentence."""
        for cache in self.caches:
            cache.reorder(rows)

    def keep(self, sentences: Tensor) -> None:
        """Keep only these sentences (B',), each with all its hypotheses."""
        self.sources = [tuple(t.index_select(0, sentences) for t in s) for s in self.sources]
        self.mask = self.mask.index_select(0, sentences)
        within = torch.arange(self.copies, device=sentences.device)
        self.reorder((sentences[:, None] * self.copies + within).flatten())
