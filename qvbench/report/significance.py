"""Tests of paired differences: against zero, for equivalence, over a whole table; and their power.

All take differences on the same seeds, data order and sentences; the seeds are the sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from qvbench.report.statistics import LEVEL, Interval, t_interval

ALPHA = 1 - LEVEL
MARGIN = 0.1
"""Points of accuracy within which two variants count as the same, unless said otherwise."""
POWER = 0.8
MOST_SEEDS = 100_000


@dataclass(frozen=True)
class PairedTest:
    """What a variant's differences to the baseline show.

    Args:
        difference: their mean and interval, which is that of this row alone.
        p: two-sided, of the mean being zero; by Holm over the table.
        p_equivalence: of the mean lying outside the margin; by Holm over the table.
        verdict: better, worse, equivalent or not shown.
    """

    difference: Interval
    p: float
    p_equivalence: float
    verdict: str


def table_of_tests(
    differences: Mapping[str, Sequence[float]], margin: float = MARGIN
) -> dict[str, PairedTest]:
    """Test every row of a table; rows with a single difference carry no test and are left out.

    Difference and equivalence are two families of questions, each with Holm's correction. A row
    that is shown to differ, and to differ by less than the margin, is called better or worse.

    Args:
        differences: variant minus baseline in points, by row.
        margin: of equivalence, in points.
    """
    rows = {name: values for name, values in differences.items() if len(values) > 1}
    differ = holm({name: p_value(values) for name, values in rows.items()})
    same = holm({name: p_equivalence(values, margin) for name, values in rows.items()})
    return {
        name: PairedTest(
            difference := t_interval(values),
            differ[name],
            same[name],
            _verdict(difference.mean, differ[name], same[name]),
        )
        for name, values in rows.items()
    }


def _verdict(mean: float, differ: float, same: float) -> str:
    if differ < ALPHA:
        return "better" if mean > 0 else "worse"
    return "equivalent" if same < ALPHA else "not shown"


def p_value(differences: Sequence[float]) -> float:
    """Two-sided p of Student's test that the mean difference is zero (two differences at least)."""
    return 2 * min(_above(differences, 0.0), 1 - _above(differences, 0.0))


def p_equivalence(differences: Sequence[float], margin: float) -> float:
    """p of the two one-sided tests that the mean lies outside ``(-margin, margin)``.

    The larger of the two (Schuirmann, "A comparison of the two one-sided tests procedure and the
    power approach", 1987). Below 0.05, the 90 % interval lies within the margin.
    """
    return max(_above(differences, -margin), 1 - _above(differences, margin))


def _above(differences: Sequence[float], bound: float) -> float:
    """One-sided p against a mean at or below a bound; differences without spread settle it."""
    from scipy.stats import t

    count = len(differences)
    distance = fmean(differences) - bound
    error = stdev(differences) / math.sqrt(count)
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(t.sf(distance / error, count - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values that may each be held against the level, all rows together.

    The k-th smallest of m is multiplied by ``m - k + 1``, and none is smaller than the one before
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = least
    return adjusted


def power(seeds: int, deviation: float, gap: float) -> float:
    """How often the paired test, of one row by itself, finds a gap of this size.

    The statistic follows Student's noncentral distribution, shifted by
    ``gap sqrt(seeds) / deviation``.

    Args:
        seeds: of both variants, at least two.
        deviation: of the differences between seeds, points.
        gap: true mean difference, points.
    """
    from scipy.stats import nct, t

    bound = float(t.ppf(1 - ALPHA / 2, seeds - 1))
    shift = gap * math.sqrt(seeds) / deviation
    if shift > 30:  # beyond what the distribution is computed for, and certain
        return 1.0
    return float(nct.sf(bound, seeds - 1, shift) + nct.cdf(-bound, seeds - 1, shift))


def seeds_needed(deviation: float, gap: float) -> int | None:
    """The fewest seeds that find a gap with :data:`POWER`; nothing if that were 100,000 or more."""
    if deviation == 0:
        return 2
    low, high = 1, 2
    while power(high, deviation, gap) < POWER:
        if high >= MOST_SEEDS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, deviation, gap) >= POWER else (middle, high)
    return high


def pooled_deviation(differences: Mapping[str, Sequence[float]]) -> float | None:
    """The deviation between seeds that the rows have in common: the root of the mean variance.

    Weighted by degrees of freedom; nothing if no row has two differences.
    """
    rows = [values for values in differences.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in rows)
    if not freedom:
        return None
    return math.sqrt(sum((len(v) - 1) * stdev(v) ** 2 for v in rows) / freedom)
