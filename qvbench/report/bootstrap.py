"""Intervals over seeds and validation sentences at once: would it hold for other sentences too?

Shape letters: K seeds, S sentences, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qvbench.report.statistics import LEVEL, Interval

RESAMPLES = 2000
Floats = npt.NDArray[np.float64]


class Sentences(NamedTuple):
    """A run's (S,) right tokens of each validation sentence, and its (S,) target tokens."""

    right: npt.NDArray[np.generic]
    tokens: npt.NDArray[np.generic]


def crossed(runs: Mapping[int, Sentences]) -> Interval | None:
    """:func:`crossed_interval` of runs by seed; nothing unless all are of the same sentences."""
    if not runs:
        return None
    first = next(iter(runs.values()))
    if any(not np.array_equal(run.tokens, first.tokens) for run in runs.values()):
        return None
    return crossed_interval(np.stack([run.right for run in runs.values()]), first.tokens)


def less(runs: Mapping[int, Sentences], others: Mapping[int, Sentences]) -> dict[int, Sentences]:
    """Right tokens of some runs minus those of others, for seeds and sentences of both."""
    return {
        seed: Sentences(np.subtract(run.right, others[seed].right, dtype=np.int64), run.tokens)
        for seed, run in runs.items()
        if seed in others and np.array_equal(run.tokens, others[seed].tokens)
    }


def crossed_interval(right: npt.NDArray[np.generic], tokens: npt.NDArray[np.generic]) -> Interval:
    """A score's mean over seeds, with the interval that allows for other seeds and sentences.

    Every seed is scored on the same sentences, so the two are crossed: seeds and sentences are
    resampled independently, each with replacement (Owen, "The pigeonhole bootstrap", 2007). That
    counts what is peculiar to one seed on one sentence three times over; with the variances of
    resampling seeds alone and sentences alone the excess is known, and taken off:
    ``V = 2 (V_seeds + V_sentences) - V_both``. The interval is ``mean ± t sqrt(V)`` with
    Satterthwaite's degrees of freedom, since percentiles of three or five seeds are too narrow.

    Args:
        right: (K, S) right tokens of each seed and sentence; for the difference of two variants,
            their difference on the same seeds.
        tokens: (S,) target tokens of each sentence.

    Returns:
        In per cent of the tokens; without bounds where there is one seed.
    """
    grid, lengths = right.astype(np.float64), tokens.astype(np.float64)
    seeds, sentences = grid.shape
    scores = 100 * grid.sum(1) / lengths.sum()
    mean = float(scores.mean())
    if seeds < 2:
        return Interval(mean, None, None, seeds)
    of_seeds = float(scores.var(ddof=1)) / seeds
    of_sentences, of_both = _resampled_variances(grid, lengths)
    whole = max(2 * (of_seeds + of_sentences) - of_both, of_seeds, of_sentences)
    half = _reach(whole, (of_seeds, seeds - 1), (of_sentences, sentences - 1))
    return Interval(mean, mean - half, mean + half, seeds)


def _resampled_variances(right: Floats, tokens: Floats) -> tuple[float, float]:
    """Variance of the mean score under other sentences, and under other seeds and sentences.

    Resampling K seeds shows ``(K - 1) / K`` of their variance; the seeds' part is widened by it.
    """
    seeds = len(right)
    weights = _weights(len(tokens))
    scores = 100 * (weights @ right.T) / (weights @ tokens)[:, None]  # (R, K)
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


def _reach(whole: float, *parts: tuple[float, int]) -> float:
    """Half the interval: Student's quantile times the error.

    Args:
        whole: variance of the mean.
        parts: the variances that it is made of, with their degrees of freedom.
    """
    from scipy.stats import t

    weight = sum(variance**2 / max(freedom, 1) for variance, freedom in parts)
    if weight == 0:
        return 0.0
    freedom = max(whole**2 / weight, min(freedom for _, freedom in parts))
    return float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(whole)
