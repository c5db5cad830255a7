"""Multi-query associative recall, MQAR (Arora et al. 2023, "Zoology", arXiv:2312.04927)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qvbench.data.corpora.synthetic import (
    NO_TOKEN,
    Examples,
    SyntheticCorpus,
    distinct,
    nothing_asked,
)


class AssociativeRecall(SyntheticCorpus):
    """Pairs of key and value, then the keys again, one by one: which value was it?

    With a vocabulary of 12, two pairs and 16 tokens::

        inputs   4 9 2 7 0 0 2 0 4 0 0 0 0 0 0 0
        targets  . . . . . . 7 . 9 . . . . . . .

    As published: keys are from the lower half of the vocabulary, without 0, values from the upper;
    neither occurs twice among the pairs. Queries stand at even places after the pairs, the nearest
    the likeliest: gap g = 1, 2, … in proportion to ``g ** (power - 1)``, no gap twice. All other
    tokens are 0, as in the published figures.

    Args:
        pairs: of key and value in a sequence.
        power: of the power law of gaps; 1 makes all gaps equally likely.
        short_pairs: three of four training sequences have so many pairs alone, in 4 tokens for
            each at its beginning, and nothing after: what is asked is learned much sooner on
            these. None for no such sequences.

    Raises:
        UserError: pairs and queries do not fit into the sequence, or keys into the vocabulary.
    """

    def __init__(
        self,
        pairs: int = 8,
        power: float = 0.01,
        short_pairs: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.pairs = pairs
        self.power = power
        self.short_pairs = short_pairs
        fits = short_pairs is None or 1 <= short_pairs <= pairs
        self.check(fits, f"short_pairs must be from 1 to pairs={pairs}, got {short_pairs}")
        self.check(pairs >= 1, f"pairs must be at least 1, got {pairs}")
        self.check(self.length % 2 == 0, f"length must be even, got {self.length}")
        needed = f"{pairs} pairs and a query of each take {4 * pairs} tokens"
        self.check(4 * pairs <= self.length, f"{needed}; length is {self.length}")
        keys = self.vocab_size // 2 - 1
        few = f"vocab_size={self.vocab_size} has {max(keys, 0)} keys for {pairs} pairs"
        self.check(pairs <= keys, f"{few}; give {2 * pairs + 2} at least")

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        half, start = self.vocab_size // 2, 2 * self.pairs
        keys = 1 + distinct(rng, half - 1, count, self.pairs)
        values = half + distinct(rng, self.vocab_size - half, count, self.pairs)
        # Gaps, one after the other among those that are left, are in the order in which clocks ring
        # whose waiting times are exponential, at rates that are the law.
        law = np.arange(1.0, (self.length - start) // 2 + 1) ** (self.power - 1)
        rings = -np.log1p(-rng.random((count, len(law)))) / law
        places = start + 2 * np.argsort(rings, axis=1, kind="stable")[:, : self.pairs]
        targets = nothing_asked(count, self.length)
        inputs = np.zeros_like(targets)
        inputs[:, 0:start:2], inputs[:, 1:start:2] = keys, values
        np.put_along_axis(inputs, places, keys, axis=1)
        np.put_along_axis(targets, places, values, axis=1)
        return Examples(inputs, targets)

    def draw_training(self, rng: np.random.Generator, count: int) -> Examples:
        drawn = self.draw(rng, count)
        if self.short_pairs is None:
            return drawn
        sizes = {"length": 4 * self.short_pairs, "vocab_size": self.vocab_size}
        short = AssociativeRecall(self.short_pairs, self.power, **sizes).draw(rng, count)
        chosen = np.arange(count) % 4 != 0
        for whole, part, nothing in zip(drawn, short, (0, NO_TOKEN), strict=True):
            whole[chosen] = nothing
            whole[chosen, : sizes["length"]] = part[chosen]
        return drawn
