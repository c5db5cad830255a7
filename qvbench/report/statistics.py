"""Intervals over seeds, and over sentences too; tests of a whole table's differences, their power.

Shape letters: K seeds, S sentences.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtr, stdtr, stdtrit  # what scipy.stats calls, without its import

LEVEL = 0.95
ALPHA = 1 - LEVEL
MARGIN = 0.1
"""Points of accuracy within which two variants count as equivalent, unless a suite says more."""
POWER = 0.8
MAX_SEEDS = 2**17

Scores = Mapping[int, float]
Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """Mean of a ``number`` of values and the bounds of the true one; NaN for a single value."""

    mean: float
    low: float
    high: float
    number: int


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of independent, normally distributed values (one or more).

    mean ± t s / sqrt(n), with n - 1 degrees of freedom ("The probable error of a mean", 1908).
    """
    mean, count, half = fmean(values), len(values), math.nan
    if count > 1:
        half = _reach(count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


@lru_cache
def _reach(freedom: float) -> float:
    """How many standard errors an interval reaches to either side."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def paired_differences(values: Scores, baseline: Scores) -> list[float]:
    """Value minus baseline for each seed that both have, by seed: it gives both the same data."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


class PairedTest(NamedTuple):
    """What paired differences show; both p are Holm-corrected over the table."""

    difference: Interval  # of this row alone
    p: float  # two-sided, of the mean being zero
    p_equivalence: float  # of the mean lying outside the margin
    verdict: str  # better, worse, equivalent or inconclusive


def table_of_tests(
    differences: Mapping[str, Sequence[float]],
    margin: float = MARGIN,
    higher_is_better: bool = True,
) -> dict[str, PairedTest]:
    """Test every row of differences; rows of a single one are left out.

    Difference and equivalence are two families of questions, each with Holm's correction. A row
    that is shown to differ, and to differ by less than the margin, is called better or worse.
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
    distance = fmean(differences) - bound
    error = stdev(differences) / math.sqrt(len(differences))
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stdtr(len(differences) - 1, -distance / error))


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
    """How often the paired test of one row finds a true gap, by Student's noncentral distribution.

    The deviation is that of the differences between seeds.
    """
    bound, shift = _reach(seeds - 1), gap * math.sqrt(seeds) / deviation
    if shift > 30:  # beyond what the distribution is computed for, and certain
        return 1.0
    return float(1 - nctdtr(seeds - 1, shift, bound) + nctdtr(seeds - 1, shift, -bound))


def seeds_needed(deviation: float, gap: float) -> int | None:
    """The fewest seeds that find a gap with :data:`POWER`; None from :data:`MAX_SEEDS` on."""
    if deviation == 0:
        return 2
    seeds = range(2, MAX_SEEDS)
    fewest = bisect_left(seeds, POWER, key=lambda count: power(count, deviation, gap))
    return seeds[fewest] if fewest < len(seeds) else None


# BLEU


def bleu_p_values(
    references: Sequence[str], baseline: Sequence[str], system: Sequence[str]
) -> list[float]:
    """Two p of two translations having one BLEU: a minute's work, always with one outcome.

    sacreBLEU's paired bootstrap (Koehn 2004), and its approximate randomization (Riezler and
    Maxwell 2005).
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest as SacreTest

    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    systems = [("baseline", baseline), ("system", system)]
    metric = {"BLEU": BLEU(references=[references])}
    tests = [SacreTest(systems, metric, None, method)()[1] for method in ("bs", "ar")]
    return [float(getattr(test["BLEU"][1], "p_value")) for test in tests]  # noqa: B009


# Seeds and sentences


class Sentences(NamedTuple):
    """A run's (S,) correct tokens of each validation sentence, and its (S,) target tokens."""

    correct: Array
    tokens: Array


def crossed(
    runs: Mapping[int, Sentences], others: Mapping[int, Sentences] | None = None
) -> Interval | None:
    """:func:`crossed_interval` of runs by seed, or of what they have more than others.

    None unless all are of the same sentences.
    """
    seeds = [seed for seed in runs if others is None or seed in others]
    used = [runs[seed] for seed in seeds] + [others[seed] for seed in seeds if others]
    if not used or any(not np.array_equal(run.tokens, used[0].tokens) for run in used):
        return None
    correct = np.stack([run.correct for run in used]).astype(np.float64)
    if others is not None:
        correct = correct[: len(seeds)] - correct[len(seeds) :]
    return crossed_interval(correct, used[0].tokens.astype(np.float64))


def crossed_interval(correct: Floats, tokens: Floats) -> Interval:
    """A score's mean over seeds, with the interval that allows for other seeds and sentences.

    Every seed is scored on the same sentences, so the two are crossed: the variances of the means
    over either count what is peculiar to a seed on a sentence once each, and one is taken off (the
    analysis of variance in two directions, of what the pigeonhole bootstrap of Owen 2007
    resamples). The interval is ``mean ± t sqrt(V)`` with Satterthwaite's degrees of freedom.

    Args:
        correct: (K, S) tokens of each seed and sentence, or differences of two variants in them.
        tokens: (S,) target tokens of each sentence.
    """
    seeds, sentences = correct.shape
    mean = float(100 * correct.sum(1).mean() / tokens.sum())
    if min(seeds, sentences) < 2:
        return Interval(mean, math.nan, math.nan, seeds)
    # What each sentence adds to a seed's score, but for the mean: a ratio's linear form.
    parts = sentences * (100 * correct - mean * tokens) / tokens.sum()
    of_seed, of_sentence = parts.mean(1, keepdims=True), parts.mean(0, keepdims=True)
    freedoms = seeds - 1, sentences - 1
    rest = float(((parts - of_seed - of_sentence + parts.mean()) ** 2).sum())
    of_both = rest / (freedoms[0] * freedoms[1] * seeds * sentences)
    variances = float(of_seed.var(ddof=1)) / seeds, float(of_sentence.var(ddof=1)) / sentences
    whole = max(sum(variances) - of_both, *variances)
    weight = sum(v**2 / freedom for v, freedom in zip(variances, freedoms, strict=True))
    if weight == 0:
        return Interval(mean, mean, mean, seeds)
    half = _reach(max(whole**2 / weight, min(freedoms))) * math.sqrt(whole)
    return Interval(mean, mean - half, mean + half, seeds)
