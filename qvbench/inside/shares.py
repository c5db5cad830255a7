"""Shares over sentences: a sum of parts over a sum of wholes, with an interval over sentences.

Shape letters: S sentences; what follows is the measure's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qvbench.report.statistics import ALPHA, quantile

Floats = npt.NDArray[np.float64]


class Share(NamedTuple):
    """What each sentence adds to a ratio: of words that are right, of attention that goes there."""

    part: Floats  # (S, ...)
    whole: Floats  # (S, ...), of the same shape or broadcast

    @property
    def value(self) -> Floats:
        """(...); NaN where there is nothing to share."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value: Floats = self.part.sum(0) / self.whole.sum(0)
        return value

    def interval(self) -> Floats:
        """Value, lower and upper bound over other sentences, (3, ...).

        By a ratio's linear form; NaN of one sentence. They are of one model: another seed's value
        may lie outside.
        """
        value, count = self.value, len(self.part)
        if count < 2:
            return np.stack([value, value * math.nan, value * math.nan])
        with np.errstate(invalid="ignore", divide="ignore"):
            added = count * (self.part - value * self.whole) / self.whole.sum(0)
        half = quantile(count - 1, ALPHA / 2) * added.std(0, ddof=1) / math.sqrt(count)
        return np.stack([value, value - half, value + half])


def side_by_side(shares: Sequence[Share]) -> Share:
    """Of several heads, (S, H) from (S,) each."""
    return Share(*(np.stack(of, -1) for of in zip(*shares, strict=True)))


def chosen_and_held_out(sentences: int) -> tuple[slice, slice]:
    """Two halves of as many sentences: to choose or fit on, and to report. Every other one, so that
    both have all of a text's parts."""
    return slice(0, sentences, 2), slice(1, sentences, 2)
