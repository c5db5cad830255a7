"""How attention falls off with distance: means, and families of functions fitted to it.

A query at position ``i`` sees, in one direction, the distances 1 to its reach ``R``: what lies
between it and the sentence's end. A family says that of the attention that it gives that way, a
share ``f(d) / (f(1) + ... + f(R))`` falls at distance ``d``. So no distance is thought rare because
few positions have it, and the support is bounded (Clauset, Shalizi and Newman, "Power-law
distributions in empirical data", 2009, fit by maximum likelihood and compare by likelihood ratios;
a line through a log-log plot does neither). Attention is a weight and no count of draws: intervals
and tests take the sentence as what is drawn.

Shape letters: S sentences, H heads, W words or tokens, L the longest distance, R reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from qvbench.inside.shares import Floats, chosen_and_held_out
from qvbench.report.statistics import ALPHA, Interval, quantile

Decay = Callable[[Floats, Floats], Floats]
"""The logarithm of ``f`` at distances, from parameters."""

FAMILIES: dict[str, tuple[Decay, tuple[str, ...], tuple[float, ...]]] = {
    # exponent a: d ** -a
    "power law": (lambda d, p: -p[0] * np.log(d), ("exponent",), (1.0,)),
    # rate b: exp(-b d)
    "exponential": (lambda d, p: -p[0] * d, ("rate",), (0.1,)),
    # rate b > 0: 1 / (1 + b log d)
    "logarithmic": (lambda d, p: -np.log1p(np.exp(p[0]) * np.log(d)), ("log rate",), (0.0,)),
    # rate b and exponent c > 0: exp(-b d ** c)
    "stretched exponential": (
        lambda d, p: -p[0] * d ** np.exp(p[1]),
        ("rate", "log exponent"),
        (0.5, -0.5),
    ),
}
"""Each with the names of its parameters and where the search for them starts."""


def by_offset(attention: Floats, longest: int) -> Floats:
    """Sums of attention (H, Wq, Wk) by offset, key minus query, from ``-longest`` to ``longest``:
    (H, 2 * longest + 1)."""
    offsets = range(-longest, longest + 1)
    return np.stack([np.trace(attention, offset, 1, 2) for offset in offsets], -1)


def mean_by_offset(maps: Sequence[Floats], longest: int) -> Floats:
    """Mean attention of a query to a key at each offset, over the pairs that have it:
    (H, 2 * longest + 1), NaN where none has."""
    total = np.sum([by_offset(attention, longest) for attention in maps], 0)
    pairs = np.sum([by_offset(np.ones((1, *a.shape[1:])), longest) for a in maps], 0)
    with np.errstate(invalid="ignore"):
        mean: Floats = total / pairs
    return mean


def by_reach(attention: Floats, longest: int, left: bool) -> Floats:
    """Attention (H, W, W) in one direction, summed over queries of the same reach.

    Returns (H, R, L), both from 1 to ``longest``; what lies farther is left out.
    """
    if not left:  # read the sentence from its end
        attention = attention[:, ::-1, ::-1]
    heads, words = attention.shape[:2]
    found = np.zeros((heads, longest, longest))
    for query in range(1, words):
        reach = min(query, longest)
        found[:, reach - 1, :reach] += attention[:, query, query - reach : query][:, ::-1]
    return found


class Fit(NamedTuple):
    """A family fitted to attention by distance."""

    family: str
    parameters: dict[str, Interval]
    log_likelihood: Floats  # (S,) of each held-out sentence
    weight: float  # attention of the held-out sentences, in words

    @property
    def per_word(self) -> float:
        """Held-out log-likelihood per unit of attention, in nats."""
        return float(self.log_likelihood.sum()) / self.weight


def log_likelihood(log_decay: Floats, weights: Floats) -> Floats:
    """Of sentences' attention (S, R, L) under log f (L,): (S,)."""
    longest = len(log_decay)
    normalizer = np.logaddexp.accumulate(log_decay)  # (R,): a reach sees the distances up to it
    seen = np.tril(np.ones((longest, longest)))
    result: Floats = np.einsum("srl,rl->s", weights, seen * (log_decay - normalizer[:, None]))
    return result


def fit_family(name: str, weights: Floats) -> Fit:
    """Fit a family to the one half of sentences' attention (S, R, L), score it on the other.

    Intervals are of the sandwich estimator, with sentences as clusters (Liang and Zeger 1986): a
    sentence's attention is no sample of independent draws.
    """
    decay, names, start = FAMILIES[name]
    chosen, held_out = (weights[half] for half in chosen_and_held_out(len(weights)))
    pooled, total = chosen.sum(0, keepdims=True), chosen.sum()
    distance = np.arange(1.0, weights.shape[-1] + 1)

    def loss(parameters: Floats) -> float:
        return -float(log_likelihood(decay(distance, parameters), pooled)[0]) / total

    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}).x
    step = 1e-4

    def scores(parameters: Floats) -> Floats:  # (P, S), gradients of each sentence
        around = [(parameters + step * e, parameters - step * e) for e in np.eye(len(start))]
        values = [[log_likelihood(decay(distance, p), chosen) for p in pair] for pair in around]
        return np.array([(above - below) / (2 * step) for above, below in values])

    each = scores(best)
    curvature = np.array(
        [(scores(best + step * e) - scores(best - step * e)).sum(1) for e in np.eye(len(start))]
    ) / (2 * step)
    inverse = np.linalg.pinv(curvature)
    error = np.sqrt(np.diag(inverse @ (each @ each.T) @ inverse))
    half = quantile(len(chosen) - 1, ALPHA / 2) * error
    bounds = {
        n: Interval(float(p), float(p - h), float(p + h))
        for n, p, h in zip(names, best, half, strict=True)
    }
    scored = log_likelihood(decay(distance, best), held_out)
    return Fit(name, bounds, scored, float(held_out.sum()))


def fit_table(weights: Floats, rounds: int = 500) -> Fit:
    """A free value per distance, fitted and scored on the same halves: the most that any function
    of distance could reach. By Hunter's algorithm ("MM algorithms for generalized Bradley-Terry
    models", 2004), which is that of choices from sets of different sizes."""
    chosen, held_out = (weights[half] for half in chosen_and_held_out(len(weights)))
    pooled = chosen.sum(0)
    at_distance, at_reach = pooled.sum(0), pooled.sum(1)
    table = np.ones(weights.shape[-1])
    for _ in range(rounds):
        share = (at_reach / np.cumsum(table))[::-1].cumsum()[::-1]  # of all reaches that see it
        table = np.maximum(at_distance, 1e-12) / np.maximum(share, 1e-12)
        table /= table.max()
    scored = log_likelihood(np.log(table), held_out)
    return Fit("free table", {}, scored, float(held_out.sum()))


class Comparison(NamedTuple):
    """Vuong's test of two families that are not nested, on held-out sentences."""

    z: float  # above zero where the first is nearer to the data
    p: float  # two-sided, of both being equally near


def compare(first: Fit, second: Fit) -> Comparison:
    """The log-likelihood ratio over sentences, divided by its standard error (Vuong 1989)."""
    ratio = first.log_likelihood - second.log_likelihood
    error = float(ratio.std(ddof=1)) * math.sqrt(len(ratio))
    z = float(ratio.sum()) / error if error > 0 else 0.0
    return Comparison(z, float(2 * ndtr(-abs(z))))


def chosen_family(fits: Sequence[Fit]) -> Fit:
    """The family with the fewest parameters that is not significantly farther from the held-out
    sentences than the nearest one is; the nearer of two. A stretched exponential comes as near to a
    power law, or to an exponential, as one likes: being nearest is not enough."""
    nearest = max(fits, key=lambda fit: fit.log_likelihood.sum())
    left = [fit for fit in fits if fit is nearest or compare(nearest, fit).p >= ALPHA]
    return min(left, key=lambda fit: (len(fit.parameters), -fit.log_likelihood.sum()))


def explained(fit: Fit, table: Fit, weights: Floats) -> float:
    """Share of what a free table explains of held-out attention (S, R, L) that a family does: 0 as
    good as uniform; NaN where distance explains nothing."""
    held_out = weights[chosen_and_held_out(len(weights))[1]]
    uniform = float(log_likelihood(np.zeros(weights.shape[-1]), held_out).sum())
    gained, most = (float(f.log_likelihood.sum()) - uniform for f in (fit, table))
    return gained / most if most > 0 else math.nan


def rope_exponent(theta: float, length: int) -> float:
    """The exponent that Marin ("Predicting How Transformers Attend", 2026) gives attention under
    RoPE of base theta in a context of so many tokens: ``(2 theta - T sqrt 2) / (2 theta + T sqrt
    2)``."""
    pull = length * math.sqrt(2)
    return (2 * theta - pull) / (2 * theta + pull)
