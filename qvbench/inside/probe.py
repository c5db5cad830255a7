"""A linear probe: what a classifier without hidden layers reads off queries, keys and values.

A probe that finds a tag may have memorized words. Its control task (Hewitt and Liang, "Designing
and interpreting probes with control tasks", 2019) gives each word type one random label, in
proportion to the labels' frequencies: it can be solved by memory alone. **Selectivity** is the
accuracy less that of the control.

Shape letters: S sentences, N words of all, F features, T labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from qvbench.inside.shares import Floats, Share, chosen_and_held_out

WEIGHT_DECAY = 1e-3
"""Of the probe's weights, on standardized features, per word."""

Labels = Sequence[Sequence[str]]
"""A label per word of each sentence; an empty one is not counted."""
Ints = npt.NDArray[np.int64]


class Probe(NamedTuple):
    """Accuracies on the sentences that the probe was not fitted on, (S/2,) each."""

    accuracy: Share
    control: Share  # of a probe for random labels of word types
    by_type: Share  # of each word type's most frequent label, without any vector

    @property
    def selectivity(self) -> Share:
        """Accuracy less the control's."""
        return Share(self.accuracy.part - self.control.part, self.accuracy.whole)


def probe(vectors: Sequence[Floats], words: Labels, labels: Labels) -> Probe:
    """Fit on every other sentence, test on the rest.

    Args:
        vectors: (W, F) of each sentence's words.
        words: the words, whose types have the control's labels.
        labels: what is to be read off the vectors.
    """
    names = sorted({label for of in labels for label in of if label})
    kept, types, truth = [], [], []
    for x, sentence, of in zip(vectors, words, labels, strict=True):
        counted = [word for word, label in enumerate(of) if label]
        kept.append(x[counted])
        types.append([sentence[word] for word in counted])
        truth.append(np.array([names.index(of[word]) for word in counted], int))
    frequency = np.bincount(np.concatenate(truth), minlength=len(names))
    random = [np.array([_random_label(w, frequency) for w in of], int) for of in types]
    chosen, held_out = chosen_and_held_out(len(kept))
    mean, scale = _standard(np.concatenate(kept[chosen]))
    inputs = [(x - mean) / scale for x in kept]

    def tested(target: Sequence[Ints]) -> Share:
        weights = fit(np.concatenate(inputs[chosen]), np.concatenate(target[chosen]), len(names))
        return _accuracy([predict(weights, x) for x in inputs[held_out]], target[held_out])

    by_type = _by_type(types[chosen], truth[chosen], types[held_out])
    return Probe(tested(truth), tested(random), _accuracy(by_type, truth[held_out]))


def fit(x: Floats, labels: Ints, count: int) -> Floats:
    """Weights (F + 1, T), the last row the bias, of a multinomial logistic regression of (N, F)."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    target = np.eye(count)[labels]
    penalized = np.ones((x.shape[1], 1))
    penalized[-1] = 0

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, count)
        logits = x @ weights
        logits -= logits.max(1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        gradient = x.T @ (np.exp(log_p) - target) / len(x) + WEIGHT_DECAY * penalized * weights
        penalty = WEIGHT_DECAY / 2 * float((penalized * weights**2).sum())
        return penalty - float((target * log_p).sum()) / len(x), gradient.ravel()

    start = np.zeros(x.shape[1] * count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    weights: Floats = found.x.reshape(-1, count)
    return weights


def predict(weights: Floats, x: Floats) -> Ints:
    """The likeliest label of each vector (N, F): (N,)."""
    return np.asarray((x @ weights[:-1] + weights[-1]).argmax(1))


def _standard(x: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of features; 1 for one that does not vary."""
    deviation = x.std(0)
    return x.mean(0), np.where(deviation > 0, deviation, 1.0)


def _random_label(word: str, frequency: Ints) -> int:
    """A word type's label of the control task, the same in every split."""
    share = frequency.cumsum() / frequency.sum()
    return int(np.searchsorted(share, _draw(word), side="right"))


@cache
def _draw(word: str) -> float:
    return float(np.random.default_rng([0, crc32(word.encode())]).random())


def _by_type(types: Labels, truth: Sequence[Ints], tested: Labels) -> list[Ints]:
    """For each word the label that its type has most often, or all words have if it is new."""
    seen: dict[str, Counter[int]] = {}
    for of, labels in zip(types, truth, strict=True):
        for word, label in zip(of, labels.tolist(), strict=True):
            seen.setdefault(word, Counter())[label] += 1
    usual = sum(seen.values(), Counter()).most_common(1)[0][0]
    best = {word: count.most_common(1)[0][0] for word, count in seen.items()}
    return [np.array([best.get(word, usual) for word in of], int) for of in tested]


def _accuracy(predicted: Sequence[Ints], truth: Sequence[Ints]) -> Share:
    right = [float((p == t).sum()) for p, t in zip(predicted, truth, strict=True)]
    return Share(np.array(right), np.array([float(len(t)) for t in truth]))
