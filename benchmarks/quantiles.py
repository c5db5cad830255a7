"""Medians and quantiles of repeats, and of ratios round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """The 10 % quantile, the median and the 90 % quantile of repeats."""

    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Quantiles with linear interpolation.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no quantiles")
    return Spread(*(float(q) for q in np.quantile(values, (0.1, 0.5, 0.9))))


def speeds(repeats: Sequence[Mapping[str, Any]]) -> Spread:
    """Items a second."""
    return spread([repeat["items"] / repeat["seconds"] for repeat in repeats])


def ratios(first: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Spread:
    """Time that ``other`` takes for an item over that of ``first``, each round on its own.

    What disturbs the machine for longer than a round disturbs both, and leaves their ratio.

    Raises:
        ValueError: they have no round in common.
    """
    times = {repeat["round"]: repeat["seconds"] / repeat["items"] for repeat in first}
    both = [repeat for repeat in other if repeat["round"] in times]
    return spread([r["seconds"] / r["items"] / times[r["round"]] for r in both])
