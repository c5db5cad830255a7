"""A probe of vectors that say the tag, the word, or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from qvbench.inside.probe import fit, predict, probe
from tests.inside.helpers import TAGS, trees

SENTENCES = trees(120)
WORDS = [s.words for s in SENTENCES]
LABELS = [s.tags for s in SENTENCES]


def test_vectors_of_the_tag_are_read_and_their_control_is_not() -> None:
    """Catches a control that is solved by the tag, and one scored on the sentences of its fit."""
    axes = np.random.default_rng(0).normal(size=(len(TAGS), 10))
    vectors = [axes[[TAGS.index(tag) for tag in tags]] for tags in LABELS]
    found = probe(vectors, WORDS, LABELS)
    assert found.accuracy.value == 1
    assert found.control.value < 0.6
    assert found.selectivity.interval()[1] > 0.3


def test_vectors_of_the_word_are_not_selective() -> None:
    """Catches control labels that change from one sentence to the next."""
    types = [tuple(word[:5] for word in words) for words in WORDS]  # few, in both halves
    known = sorted({word for words in types for word in words})
    axes = np.eye(len(known))
    vectors = [axes[[known.index(word) for word in words]] for words in types]
    found = probe(vectors, types, LABELS)
    assert found.control.value > 0.9
    assert abs(float(found.selectivity.value)) < 0.1
    assert found.by_type.value == found.accuracy.value


def test_vectors_of_nothing_give_the_most_frequent_label() -> None:
    """Catches fit and test that share sentences: noise in many dimensions would be remembered."""
    labels = [tuple("A" if tag != "ADJ" else "B" for tag in tags) for tags in LABELS]
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(len(of), 30)) for of in labels]
    found = probe(vectors, WORDS, labels)
    most = np.mean([label == "A" for of in labels for label in of])
    assert found.accuracy.value == pytest.approx(most, abs=0.08)


def test_a_regression_has_zero_gradient_and_the_known_odds() -> None:
    """Catches a penalized bias: without features, probabilities are frequencies."""
    labels = np.array([0] * 6 + [1] * 3 + [2] * 1)
    weights = fit(np.zeros((10, 1)), labels, 3)
    odds = np.exp(weights[-1])
    np.testing.assert_allclose(odds / odds.sum(), [0.6, 0.3, 0.1], atol=1e-3)
    assert predict(weights, np.zeros((2, 1))).tolist() == [0, 0]


def test_unlabeled_words_do_not_count() -> None:
    """Catches words without a head counted as wrong, or as a class of their own."""
    labels = [("", *tags[1:]) for tags in LABELS]
    found = probe([np.zeros((len(of), 1)) for of in labels], WORDS, labels)
    assert found.accuracy.whole.sum() == sum(len(of) - 1 for of in labels[1::2])
