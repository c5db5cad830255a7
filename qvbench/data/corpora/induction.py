"""Induction (Olsson et al. 2022, arXiv:2209.11895): A B … A, and now?"""

from __future__ import annotations

from typing import Any

import numpy as np

from qvbench.data.corpora.synthetic import (
    NO_TOKEN,
    Examples,
    SyntheticCorpus,
    integers,
    nothing_asked,
)


class Induction(SyntheticCorpus):
    """Random tokens; one that occurred before asks what followed it the last time.

    How often that happens follows from length and vocabulary; the last token is always one of
    those before it. With seven tokens::

        inputs   3 8 1 3 5 8 3
        targets  . . . 8 . 1 5

    Raises:
        UserError: the sequence is too short, or there is no token.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.check(self.length >= 2, f"length must be at least 2, got {self.length}")
        self.check(self.vocab_size >= 1, f"vocab_size must be at least 1, got {self.vocab_size}")

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        rows, last = np.arange(count), self.length - 1
        inputs = integers(rng, self.vocab_size, count, self.length)
        inputs[:, last] = inputs[rows, integers(rng, last, count)]
        targets = nothing_asked(count, self.length)
        for place in range(1, self.length):
            same = inputs[:, place - 1 :: -1] == inputs[:, place, None]  # backwards
            followed = inputs[rows, place - same.argmax(1)]
            targets[:, place] = np.where(same.any(1), followed, NO_TOKEN)
        return Examples(inputs, targets)
