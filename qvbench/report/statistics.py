"""Differences of independent means and what a page may say of them; how many seeds that takes.

Shape letters: K seeds, S sentences.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, nctdtr, ndtr, stdtr, stdtrit  # without import of scipy.stats

ALPHA = 0.05
MARGIN = 0.1
"""Points of accuracy within which two variants count as equivalent, unless a suite says more."""
POWER = 0.8
MAX_SEEDS = 2**17

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
Spreads = tuple[float, float]  # standard deviations over the seeds of two variants


class Interval(NamedTuple):
    """A mean and the bounds of the true one; NaN where they are not known."""

    mean: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A mean, or a sum of independent means, each with a weight."""

    mean: float  # NaN without values
    error: float  # standard; NaN where one of the means is of a single value
    freedom: float  # degrees, of Student's distribution

    def interval(self, alpha: float = ALPHA) -> Interval:
        """``mean ± t error``, which misses the true value with probability ``alpha``."""
        half = quantile(self.freedom, alpha / 2) * self.error
        return Interval(self.mean, self.mean - half, self.mean + half)

    @property
    def p(self) -> float:
        """Two-sided p of Student's test that the true value is zero."""
        if self.error == 0:
            return float(self.mean == 0)
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error))

    def margin(self, alpha: float = ALPHA) -> float:
        """The smallest margin within which the true value is shown to lie.

        By two one-sided tests (Schuirmann, "A comparison of the two one-sided tests procedure and
        the power approach", 1987): equivalence is shown within any margin that is larger.
        """
        return abs(self.mean) + quantile(self.freedom, alpha) * self.error


@lru_cache
def quantile(freedom: float, tail: float) -> float:
    """Upper quantile of Student's distribution: exceeded with probability ``tail``."""
    return float(stdtrit(freedom, 1 - tail))


Groups = Iterable[tuple[float, Sequence[float]]]
"""Weights, each with its sample; all values are independent."""


def estimate(groups: Groups) -> Estimate:
    """The sum of the groups' means, each times its weight.

    Without equal variances (Welch, "The generalization of Student's problem when several different
    population variances are involved", 1947), which for one group is Student's mean.
    """
    weights, samples = zip(*groups, strict=True)
    if not all(samples):
        return Estimate(math.nan, math.nan, 1)
    mean = sum(weight * fmean(values) for weight, values in zip(weights, samples, strict=True))
    if min(map(len, samples)) < 2:
        return Estimate(mean, math.nan, 1)
    squares = [
        weight**2 * float(np.var(values, ddof=1)) / len(values)
        for weight, values in zip(weights, samples, strict=True)
    ]
    return Estimate(mean, math.sqrt(sum(squares)), _freedom(squares, [*map(len, samples)]))


def _freedom(squares: Sequence[float], counts: Sequence[int]) -> float:
    """Degrees of freedom of a sum of squared errors, each of a mean of so many values.

    Satterthwaite's, rounded down: as they come they are too many where the wider of two samples of
    three or five decides, and the fewer the questions leave to each, the more it shows.
    """
    weight = sum(square**2 / (count - 1) for square, count in zip(squares, counts, strict=True))
    return math.floor(sum(squares) ** 2 / weight + 1e-9) if weight > 0 else 1


class Finding(NamedTuple):
    """What is shown of a difference that is one of several questions."""

    estimate: Estimate
    interval: Interval  # simultaneous: holds the truth of all questions in 95 % of the samples
    p: float  # of the true value being zero, times the questions
    margin: float  # the smallest that the true value is shown to lie within
    verdict: str  # better, worse, equivalent or inconclusive


def finding(
    difference: Estimate, questions: int, margin: float = MARGIN, higher_is_better: bool = True
) -> Finding | None:
    """What is shown of one of several differences; None without an error.

    Every question has its share of the 5 % (Bonferroni), however they depend on one another: at
    ``ALPHA / questions`` the interval, which decides better and worse, and the two one-sided tests
    of equivalence. A true difference of zero makes the first wrong that often, one of the margin or
    more the second, and none both: all verdicts together are right in 95 % of the samples.
    """
    if math.isnan(difference.error):
        return None
    alpha = ALPHA / questions
    interval, shown = difference.interval(alpha), difference.margin(alpha)
    verdict = "equivalent" if shown < margin else "inconclusive"
    if interval.low > 0 or interval.high < 0:
        verdict = "better" if (interval.low > 0) == higher_is_better else "worse"
    return Finding(difference, interval, min(1.0, difference.p * questions), shown, verdict)


# How many seeds


def power(seeds: int, spreads: Spreads, gap: float) -> float:
    """The probability that one comparison alone, of so many seeds each, finds a true gap.

    Of Student's noncentral distribution.
    """
    error, freedom = _expected(seeds, spreads)
    bound, shift = quantile(freedom, ALPHA / 2), gap / error
    if shift > 30:  # beyond what the distribution is computed for, and certain
        return 1.0
    return float(1 - nctdtr(freedom, shift, bound) + nctdtr(freedom, shift, -bound))


def power_of_equivalence(seeds: int, spreads: Spreads, margin: float) -> float:
    """The probability that one comparison alone shows equivalence where there is no gap.

    The mean must be as near to zero as the error that is found leaves room; that error is spread
    as the root of a chi-squared variable, over whose quantiles the mean is taken.
    """
    error, freedom = _expected(seeds, spreads)
    found = np.sqrt(chdtri(freedom, (np.arange(200) + 0.5) / 200) / freedom)
    room = np.clip(margin / error - quantile(freedom, ALPHA) * found, 0, None)
    return float(np.mean(2 * ndtr(room) - 1))


def _expected(seeds: int, spreads: Spreads) -> tuple[float, float]:
    """The true error, and the degrees of freedom that sampled spreads give on average.

    Those of the true spreads are more than are found: the mean of a fourth power of a sampled one
    is ``1 + 2 / (seeds - 1)`` of the true, and rounding takes half a degree.
    """
    squares, own = [spread**2 / seeds for spread in spreads], seeds - 1
    fourth = sum(square**2 for square in squares)
    found = own * (sum(squares) ** 2 + 2 * fourth / own) / (fourth * (1 + 2 / own))
    return math.sqrt(sum(squares)), max(found - 0.5, own)


def seeds_needed(
    power: Callable[[int, Spreads, float], float], spreads: Spreads, points: float
) -> int | None:
    """The fewest seeds of each variant with :data:`POWER`; None from :data:`MAX_SEEDS` on."""
    if not any(spreads):
        return 2
    seeds = range(2, MAX_SEEDS)
    fewest = bisect_left(seeds, POWER, key=lambda count: power(count, spreads, points))
    return seeds[fewest] if fewest < len(seeds) else None


# BLEU


def bleu_p_values(
    references: Sequence[str], baseline: Sequence[str], system: Sequence[str]
) -> list[float]:
    """Two p-values of the hypothesis that two systems have one BLEU: a minute, deterministic.

    sacreBLEU's paired bootstrap (Koehn 2004), and its approximate randomization (Riezler and
    Maxwell 2005).
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    systems = [("baseline", baseline), ("system", system)]
    metric = {"BLEU": BLEU(references=[references])}
    tests = [PairedTest(systems, metric, None, method)()[1] for method in ("bs", "ar")]
    return [float(getattr(test["BLEU"][1], "p_value")) for test in tests]  # noqa: B009


# Seeds and sentences


def over_sentences(
    groups: Sequence[tuple[int, Floats]], tokens: Floats, alpha: float = ALPHA
) -> Interval:
    """The sum of mean scores, each with its sign, over other seeds and other sentences too.

    Every seed of every group is scored on the same sentences, so the two are crossed: the
    variances of the means over either count what is peculiar to a seed on a sentence once each,
    and one is taken off (the analysis of variance in two directions, of what the pigeonhole
    bootstrap of Owen 2007 resamples). Degrees of freedom are Satterthwaite's. Never narrower than
    over the seeds alone.

    Args:
        groups: a sign, and (K, S) correct tokens by seed and sentence.
        tokens: (S,) of each sentence.
        alpha: of the interval.
    """
    scores = [100 * correct.sum(1) / tokens.sum() for _, correct in groups]
    seeds = estimate(
        (sign, score.tolist()) for (sign, _), score in zip(groups, scores, strict=True)
    )
    sentences = tokens.size
    if not seeds.error > 0 or sentences < 2:
        return seeds.interval(alpha)
    of_seeds, of_both, of_sentence = [], 0.0, np.zeros(sentences)
    for (sign, correct), score in zip(groups, scores, strict=True):
        # What each sentence adds to a seed's score, but for the mean: a ratio's linear form.
        parts = sentences * (100 * correct - score.mean() * tokens) / tokens.sum()
        rest = parts - parts.mean(1, keepdims=True) - parts.mean(0) + parts.mean()
        of_both += float((rest**2).sum()) / (rest.size * (len(score) - 1) * (sentences - 1))
        of_seeds.append(float(score.var(ddof=1)) / len(score))
        of_sentence += sign * parts.mean(0)
    squares = [*of_seeds, float(of_sentence.var(ddof=1)) / sentences]
    whole = max(sum(squares) - of_both, squares[-1])
    freedom = _freedom(squares, [*map(len, scores), sentences]) * (whole / sum(squares)) ** 2
    both = Estimate(seeds.mean, math.sqrt(whole), max(freedom, min(map(len, scores)) - 1))
    return max(both.interval(alpha), seeds.interval(alpha), key=lambda found: found.high)
