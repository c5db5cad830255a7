"""Affinity, attachment and alignment of attention made by hand, whose numbers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qvbench.inside.affinity import (
    ALL,
    alignment_error,
    attachment,
    largest,
    tag_affinity,
)
from qvbench.inside.shares import Share
from qvbench.inside.words import Sentence
from tests.inside.helpers import TAGS, at_offset, falls_off, follows_the_head, maps, trees, uniform

SENTENCES = trees(400)


def looks_for_nouns(sentence: Sentence) -> np.ndarray:
    """Adjectives give a noun ten times what they give any other word."""
    weights = uniform(sentence)
    for i, tag in enumerate(sentence.tags):
        if tag == "ADJ":
            weights[i] = [10.0 if other == "NOUN" else 1.0 for other in sentence.tags]
    return weights


def test_a_head_that_follows_the_tree_attaches_every_word() -> None:
    """Catches heads counted from 0, the word itself taken for the arg-max, rows for columns."""
    found = attachment(SENTENCES, maps(SENTENCES, uniform, follows_the_head), causal=False)
    best = found.best(0, found.relations.index(ALL))
    assert best is not None
    assert (best.head, best.share.value) == (1, pytest.approx(1.0))
    assert best.arcs == sum(len(s.words) - 1 for s in SENTENCES[1::2])
    assert best.gain.interval()[1] > 0.5, "no fixed offset comes near"
    upside_down = [m.transpose(0, 2, 1) for m in maps(SENTENCES, follows_the_head)]
    other = attachment(SENTENCES, upside_down, causal=False)
    back = other.best(0, 0)
    assert back is not None
    assert back.share.value < 0.5, "a head that is looked for by its dependents is another one"


def test_a_dependent_is_found_from_its_head() -> None:
    """Catches the two directions exchanged: in a chain each word has one dependent, the next."""
    chain = [Sentence(tuple("abcde"), ("NOUN",) * 5, (0, 1, 2, 3, 4), ("root", *["mod"] * 4))] * 6
    found = attachment(chain, maps(chain, at_offset(1), at_offset(-1)), causal=False)
    assert found.relations == ("mod", ALL)
    to_head, to_dependent = found.best(0, 0), found.best(1, 0)
    assert to_head is not None
    assert to_dependent is not None
    assert (to_head.head, to_head.offset, to_head.share.value) == (1, -1, 1)
    assert (to_dependent.head, to_dependent.offset, to_dependent.share.value) == (0, 1, 1)
    assert to_head.gain.value == 0, "a fixed offset does as well"


def test_a_fixed_offset_is_found() -> None:
    """Catches offsets of the wrong sign, and a gain where there is none."""
    skips = []
    for sentence in SENTENCES:
        size = len(sentence.words)
        heads = tuple(word + 3 if word + 2 < size else 0 for word in range(size))
        skips.append(replace(sentence, heads=heads))
    best = attachment(skips, maps(skips, at_offset(2)), causal=False).best(0, 0)
    assert best is not None
    assert (best.offset, best.share.value, best.offset_share.value) == (2, 1, 1)
    assert best.gain.interval().tolist() == [0, 0, 0]


@pytest.mark.parametrize("causal", [False, True])
def test_uniform_attention_attaches_by_chance(causal: bool) -> None:
    """Catches ties that go to the first word, which is a subject more often than not."""
    found = attachment(SENTENCES, maps(SENTENCES, uniform), causal)
    chance = arcs = 0.0
    for sentence in SENTENCES:
        for word, head in enumerate(sentence.heads):
            if head and (not causal or head - 1 < word):
                chance += 1 / (word if causal else len(sentence.words) - 1)
                arcs += 1
    assert found.hits.part[:, 0, 0, -1].sum() == pytest.approx(chance)
    assert found.hits.whole[:, 0, 0, -1].sum() == arcs


def test_affinity_of_uniform_attention_is_chance() -> None:
    """Catches a chance that counts the word itself, and rows that do not sum to one."""
    found = tag_affinity(SENTENCES, maps(SENTENCES, uniform), causal=False)
    assert found.tags == tuple(sorted(TAGS))
    np.testing.assert_allclose(found.attention.value[0], found.chance.value[0])
    np.testing.assert_allclose(found.attention.value.sum(-1), 1)
    np.testing.assert_allclose(found.excess(found.chance).value, 0, atol=1e-12)


def test_a_head_of_distance_alone_has_no_affinity_beyond_it() -> None:
    """Catches a baseline that is not the head's own: by distance, nothing is in excess."""
    by_distance = falls_off(lambda d: np.exp(-d))
    found = tag_affinity(SENTENCES, maps(SENTENCES, by_distance, looks_for_nouns), causal=False)
    value, low, high = found.excess(found.distance).interval()
    assert low[0] < 0 < high[0]
    assert abs(value[0]) < 0.01
    assert low[1] > 0.05
    noun, adjective = found.tags.index("NOUN"), found.tags.index("ADJ")
    difference = found.attention.interval()[:, 1] - found.distance.value[1]
    assert difference[1, adjective, noun] > 0.2
    assert difference[1, noun, noun] < 0.1


def test_affinity_by_hand() -> None:
    """Catches the query's tag taken for the key's, and words that see nothing counted."""
    sentence = Sentence(("a", "b", "c"), ("ADJ", "NOUN", "ADJ"), (2, 0, 2), ("x", "root", "x"))
    attention = np.array([[[1.0, 0, 0], [0.5, 0.5, 0], [0.1, 0.6, 0.3]]])
    found = tag_affinity([sentence], [attention], causal=True)
    assert found.tags == ("ADJ", "NOUN")
    # The first word sees no other one; the second sees "a" alone; the third "a" 1/7 and "b" 6/7.
    np.testing.assert_allclose(found.attention.value[0], [[1 / 7, 6 / 7], [1, 0]])
    np.testing.assert_allclose(found.chance.value[0], [[0.5, 0.5], [1, 0]])


def test_alignment_error_by_hand() -> None:
    """Catches sure and possible links exchanged, and a rate that is no error."""
    attention = np.array([[[0.9, 0.1, 0], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2]]])
    sure, possible = np.eye(3), np.eye(3)
    possible[2, 0] = 1
    found = alignment_error([attention], [(sure, possible)])
    # A = {0-0, 1-1, 2-0}: |A & S| = 2, |A & P| = 3, |A| + |S| = 6.
    np.testing.assert_allclose(found.value, [1 - 5 / 6, 0])
    wrong = alignment_error([np.fliplr(np.eye(4))[None]], [(np.eye(4), np.eye(4))])
    assert wrong.value[0] == 1


def test_equal_weights_share_a_link() -> None:
    """Catches an arg-max of an empty row, and of equal ones."""
    found = largest(np.array([[[0.5, 0.5, 0], [0, 0, 0], [0, 0.1, 0]]]))
    np.testing.assert_array_equal(found, [[[0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]]])


def test_intervals_hold_the_truth() -> None:
    """Catches an error over words where sentences are what is drawn: 95 % of intervals."""
    rng = np.random.default_rng(0)
    size = rng.integers(3, 30, size=(1000, 60)).astype(float)
    luck = np.clip(rng.normal(0.6, 0.2, size=size.shape), 0, 1)  # of a whole sentence
    truth = float((luck * size).sum() / size.sum())
    held = 0
    for part, whole in zip(luck * size, size, strict=True):
        _, low, high = Share(part, whole).interval()
        held += low < truth < high
    assert 0.92 < held / 1000 < 0.98
