"""Copying a string."""

from __future__ import annotations

from typing import Any

import numpy as np

from qvbench.data.corpora.synthetic import Examples, SyntheticCorpus, integers, nothing_asked


class Copying(SyntheticCorpus):
    """A random string, a separator, and the string again (Jelassi et al. 2024, arXiv:2402.01032).

    The string takes up to half of the sequence, all lengths equally likely, so that no fixed
    distance leads back to it; then zeros fill the sequence. With 10 tokens, 0 the separator too::

        inputs   5 3 8 0 5 3 0 0 0 0
        targets  . . . 5 3 8 . . . .

    Raises:
        UserError: there is no room for a string, or no token beside the separator.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.check(self.length >= 2, f"length must be at least 2, got {self.length}")
        self.check(self.vocab_size >= 2, f"vocab_size must be at least 2, got {self.vocab_size}")

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        sizes = 1 + integers(rng, self.length // 2, count)
        strings = 1 + integers(rng, self.vocab_size - 1, count, self.length // 2)
        targets = nothing_asked(count, self.length)
        inputs = np.zeros_like(targets)
        for row, size in enumerate(sizes):
            inputs[row, :size] = targets[row, size : 2 * size] = strings[row, :size]
            inputs[row, size + 1 : 2 * size] = strings[row, : size - 1]
        return Examples(inputs, targets)
