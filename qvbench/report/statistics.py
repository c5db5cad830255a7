"""Intervals over seeds, tests of differences over a whole table, their power, crossed bootstrap.

Shape letters: K seeds, S sentences, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
ALPHA = 1 - LEVEL
MARGIN = 0.1
"""Points of accuracy within which two variants count as equivalent, unless a suite says more."""
POWER = 0.8
MAX_SEEDS = 100_000
RESAMPLES = 2000

Scores = Mapping[int, float]
Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which the true one lies, at :data:`LEVEL`.

    Args:
        mean: of the values.
        low: lower bound; None for a single value, which says nothing of the spread.
        high: upper bound.
        count: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of independent values from a normal distribution.

    mean ± t s / sqrt(n), with n - 1 degrees of freedom (Student, "The probable error of a mean",
    1908).

    Args:
        values: at least one, e.g. the accuracy of each seed in per cent.
    """
    mean, count = fmean(values), len(values)
    if count < 2:
        return Interval(mean, None, None, count)
    half = _quantile(count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


@lru_cache
def _quantile(freedom: int) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.stats import t  # half a second that other commands need not wait

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def paired_differences(values: Scores, baseline: Scores) -> list[float]:
    """Value minus baseline for each seed that both have, in the order of the seeds.

    A seed gives both sides the same order of the data. The interval of their mean is
    :func:`t_interval` of the differences.
    """
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


@dataclass(frozen=True)
class PairedTest:
    """What a variant's differences to the baseline show.

    Args:
        difference: their mean and interval, which is that of this row alone.
        p: two-sided, of the mean being zero; Holm-corrected over the table.
        p_equivalence: of the mean lying outside the margin; Holm-corrected over the table.
        verdict: better, worse, equivalent or inconclusive.
    """

    difference: Interval
    p: float
    p_equivalence: float
    verdict: str


def table_of_tests(
    differences: Mapping[str, Sequence[float]],
    margin: float = MARGIN,
    higher_is_better: bool = True,
) -> dict[str, PairedTest]:
    """Test every row of a table; rows with a single difference carry no test and are left out.

    Difference and equivalence are two families of questions, each with Holm's correction. A row
    that is shown to differ, and to differ by less than the margin, is called better or worse.

    Args:
        differences: variant minus baseline, by row.
        margin: of equivalence, in the unit of the differences.
        higher_is_better: direction of the metric.
    """
    rows = {name: values for name, values in differences.items() if len(values) > 1}
    p = holm({name: p_value(values) for name, values in rows.items()})
    same = holm({name: p_equivalence(values, margin) for name, values in rows.items()})
    tests = {}
    for name, values in rows.items():
        difference = t_interval(values)
        verdict = "equivalent" if same[name] < ALPHA else "inconclusive"
        if p[name] < ALPHA:
            verdict = "better" if (difference.mean > 0) == higher_is_better else "worse"
        tests[name] = PairedTest(difference, p[name], same[name], verdict)
    return tests


def p_value(differences: Sequence[float]) -> float:
    """Two-sided p of Student's test that the mean difference is zero (two differences at least)."""
    above = _above(differences, 0.0)
    return 2 * min(above, 1 - above)


def p_equivalence(differences: Sequence[float], margin: float) -> float:
    """p of the two one-sided tests that the mean lies outside ``(-margin, margin)``.

    The larger of the two (Schuirmann, "A comparison of the two one-sided tests procedure and the
    power approach", 1987). Below 0.05, the 90 % interval lies within the margin.
    """
    return max(_above(differences, -margin), 1 - _above(differences, margin))


def _above(differences: Sequence[float], bound: float) -> float:
    """One-sided p against a mean at or below a bound; differences without spread settle it."""
    from scipy.stats import t

    distance = fmean(differences) - bound
    error = stdev(differences) / math.sqrt(len(differences))
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(t.sf(distance / error, len(differences) - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values that may each be held against the level, all rows together.

    The k-th smallest of m is multiplied by ``m - k + 1``, and none is smaller than the one before
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    adjusted: dict[str, float] = {}
    least = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = least
    return adjusted


def power(seeds: int, deviation: float, gap: float) -> float:
    """How often the paired test, of one row by itself, finds a gap of this size.

    The statistic follows Student's noncentral distribution, shifted by
    ``gap sqrt(seeds) / deviation``.

    Args:
        seeds: of both variants, at least two.
        deviation: standard deviation of the differences between seeds.
        gap: true mean difference.
    """
    from scipy.stats import nct, t

    bound = float(t.ppf(1 - ALPHA / 2, seeds - 1))
    shift = gap * math.sqrt(seeds) / deviation
    if shift > 30:  # beyond what the distribution is computed for, and certain
        return 1.0
    return float(nct.sf(bound, seeds - 1, shift) + nct.cdf(-bound, seeds - 1, shift))


def seeds_needed(deviation: float, gap: float) -> int | None:
    """The fewest seeds that find a gap with :data:`POWER`; None from :data:`MAX_SEEDS` on."""
    if deviation == 0:
        return 2
    low, high = 1, 2
    while power(high, deviation, gap) < POWER:
        if high >= MAX_SEEDS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, deviation, gap) >= POWER else (middle, high)
    return high


def pooled_deviation(differences: Mapping[str, Sequence[float]]) -> float | None:
    """The standard deviation between seeds that the rows share: the root of the mean variance.

    Weighted by degrees of freedom; None if no row has two differences.
    """
    rows = [values for values in differences.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in rows)
    if not freedom:
        return None
    return math.sqrt(sum((len(v) - 1) * stdev(v) ** 2 for v in rows) / freedom)


class Sentences(NamedTuple):
    """A run's (S,) correct tokens of each validation sentence, and its (S,) target tokens."""

    correct: Array
    tokens: Array


def crossed(runs: Mapping[int, Sentences]) -> Interval | None:
    """:func:`crossed_interval` of runs by seed; None unless all are of the same sentences."""
    if not runs:
        return None
    first = next(iter(runs.values()))
    if any(not np.array_equal(run.tokens, first.tokens) for run in runs.values()):
        return None
    return crossed_interval(np.stack([run.correct for run in runs.values()]), first.tokens)


def subtract(
    runs: Mapping[int, Sentences], others: Mapping[int, Sentences]
) -> dict[int, Sentences]:
    """Correct tokens of some runs minus those of others, for seeds and sentences of both."""
    return {
        seed: Sentences(np.subtract(run.correct, others[seed].correct, dtype=np.int64), run.tokens)
        for seed, run in runs.items()
        if seed in others and np.array_equal(run.tokens, others[seed].tokens)
    }


def crossed_interval(correct: Array, tokens: Array) -> Interval:
    """A score's mean over seeds, with the interval that allows for other seeds and sentences.

    Every seed is scored on the same sentences, so the two are crossed: seeds and sentences are
    resampled independently, each with replacement (Owen, "The pigeonhole bootstrap", 2007). That
    counts what is peculiar to one seed on one sentence three times over; with the variances of
    resampling seeds alone and sentences alone the excess is known, and taken off:
    ``V = 2 (V_seeds + V_sentences) - V_both``. The interval is ``mean ± t sqrt(V)`` with
    Satterthwaite's degrees of freedom, since percentiles of three or five seeds are too narrow.

    Args:
        correct: (K, S) correct tokens of each seed and sentence; for the difference of two
            variants, their difference on the same seeds.
        tokens: (S,) target tokens of each sentence.

    Returns:
        In per cent of the tokens; without bounds for a single seed.
    """
    from scipy.stats import t

    grid, lengths = correct.astype(np.float64), tokens.astype(np.float64)
    seeds, sentences = grid.shape
    scores = 100 * grid.sum(1) / lengths.sum()
    mean = float(scores.mean())
    if seeds < 2:
        return Interval(mean, None, None, seeds)
    of_seeds = float(scores.var(ddof=1)) / seeds
    of_sentences, of_both = _resampled_variances(grid, lengths)
    whole = max(2 * (of_seeds + of_sentences) - of_both, of_seeds, of_sentences)
    parts = ((of_seeds, seeds - 1), (of_sentences, max(sentences - 1, 1)))
    weight = sum(variance**2 / freedom for variance, freedom in parts)
    if weight == 0:
        return Interval(mean, mean, mean, seeds)
    freedom = max(whole**2 / weight, min(seeds, sentences) - 1)
    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(whole)
    return Interval(mean, mean - half, mean + half, seeds)


def _resampled_variances(correct: Floats, tokens: Floats) -> tuple[float, float]:
    """Variance of the mean score under other sentences, and under other seeds and sentences.

    Resampling K seeds shows ``(K - 1) / K`` of their variance; the seeds' part is widened by it.
    """
    seeds = len(correct)
    weights = _weights(len(tokens))
    scores = 100 * (weights @ correct.T) / (weights @ tokens)[:, None]  # (R, K)
    middle = scores.mean(1)
    drawn = np.random.default_rng(seeds).integers(seeds, size=scores.shape)
    moved = np.take_along_axis(scores, drawn, 1).mean(1) - middle
    both = middle + moved * math.sqrt(seeds / (seeds - 1))
    return float(middle.var(ddof=1)), float(both.var(ddof=1))


@lru_cache(maxsize=2)
def _weights(sentences: int) -> Floats:
    """(R, S) how often each sentence is drawn; the same for every variant, so pairs stay pairs."""
    random = np.random.default_rng(sentences)
    drawn = random.multinomial(sentences, np.full(sentences, 1 / sentences), RESAMPLES)
    return drawn.astype(np.float64)
