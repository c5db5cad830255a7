"""Means with t-intervals over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which the true one lies, at :data:`LEVEL`.

    Args:
        mean: of the values.
        low: lower bound; nothing where there is one value, which says nothing of the spread.
        high: upper bound.
        count: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of independent values from a normal distribution.

    mean ± t s / sqrt(n), with s the deviation with n - 1 in its denominator, and t the quantile
    of Student's distribution with n - 1 degrees of freedom (Student, "The probable error of a
    mean", 1908).

    Args:
        values: at least one, e.g. the accuracy of each seed in per cent.
    """
    count = len(values)
    mean = fmean(values)
    if count < 2:
        return Interval(mean, None, None, count)
    half = _quantile(count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def paired_differences(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """Value minus baseline for each seed that both have, in the order of the seeds.

    A seed gives both sides the same order of the data, and the part of its luck that comes from
    there cancels. The interval of their mean is :func:`t_interval` of the differences.

    Args:
        values: by seed.
        baseline: by seed.
    """
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


@lru_cache
def _quantile(degrees: int) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.stats import t  # half a second that single runs need not wait

    return float(t.ppf((1 + LEVEL) / 2, degrees))
