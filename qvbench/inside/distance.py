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
    """A family fitted to attention by distance, scored on held-out sentences."""

    family: str
    parameters: dict[str, Interval]
    over_uniform: Floats  # (S,), log-likelihood of each less that of equal shares
    weight: float  # attention of these sentences, in words

    @property
    def gain(self) -> float:
        """Nats per unit of attention over equal shares; NaN where there is none."""
        return float(self.over_uniform.sum()) / self.weight if self.weight else math.nan


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
    chosen = weights[chosen_and_held_out(len(weights))[0]]
    pooled = chosen.sum(0, keepdims=True) / chosen.sum()
    distance = np.arange(1.0, weights.shape[-1] + 1)

    def loss(parameters: Floats) -> float:
        return -float(log_likelihood(decay(distance, parameters), pooled)[0])

    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}).x
    steps = 1e-4 * np.eye(len(start))

    def scores(parameters: Floats) -> Floats:  # (P, S), gradients of each sentence
        at = [parameters + steps, parameters - steps]
        above, below = ([log_likelihood(decay(distance, p), chosen) for p in side] for side in at)
        return (np.array(above) - np.array(below)) / 2e-4

    each = scores(best)
    curvature = [(scores(best + s) - scores(best - s)).sum(1) / 2e-4 for s in steps]
    inverse = np.linalg.pinv(curvature)
    error = np.sqrt(np.diag(inverse @ (each @ each.T) @ inverse))
    half = quantile(len(chosen) - 1, ALPHA / 2) * error
    bounds = np.stack([best, best - half, best + half], 1).tolist()
    parameters = {name: Interval(*found) for name, found in zip(names, bounds, strict=True)}
    held_out = weights[chosen_and_held_out(len(weights))[1]]
    uniform = log_likelihood(np.zeros_like(distance), held_out)
    over = log_likelihood(decay(distance, best), held_out) - uniform
    return Fit(name, parameters, over, float(held_out.sum()))


def compare(first: Fit, second: Fit) -> tuple[float, float]:
    """Vuong's test (1989) of two families on held-out sentences: z, the sum of likelihood ratios
    (log) over its standard error, above zero where the first is nearer; and the two-sided p of both
    being equally near."""
    ratio = first.over_uniform - second.over_uniform
    error = float(ratio.std(ddof=1)) * math.sqrt(len(ratio))
    z = float(ratio.sum()) / error if error > 0 else 0.0
    return z, float(2 * ndtr(-abs(z)))


def chosen_family(fits: Sequence[Fit]) -> Fit:
    """The family with the fewest parameters that is not significantly farther from the held-out
    sentences than the nearest one is; the nearer of two. A stretched exponential comes as near to a
    power law, or to an exponential, as one likes: being nearest is not enough."""
    nearest = max(fits, key=lambda fit: fit.gain)
    left = [fit for fit in fits if fit is nearest or compare(nearest, fit)[1] >= ALPHA]
    return min(left, key=lambda fit: (len(fit.parameters), -fit.gain))


def rope_exponent(theta: float, length: int) -> float:
    """The exponent that Marin ("Predicting How Transformers Attend", 2026) gives attention under
    RoPE of base theta in a context of so many tokens: ``(2 theta - T sqrt 2) / (2 theta + T sqrt
    2)``."""
    pull = length * math.sqrt(2)
    return (2 * theta - pull) / (2 * theta + pull)
