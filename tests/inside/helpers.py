"""Attention made by hand and sentences with known trees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qvbench.inside.shares import Floats
from qvbench.inside.words import Sentence

TAGS = ("NOUN", "VERB", "ADJ")


def trees(count: int, shortest: int = 4, longest: int = 12, seed: int = 0) -> list[Sentence]:
    """Sentences with random tags and heads; the first word is the root, the rest hang anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = int(rng.integers(shortest, longest + 1))
        order = rng.permutation(size)
        heads = [0] * size
        for at in range(1, size):
            heads[order[at]] = int(order[rng.integers(at)]) + 1
        tags = [TAGS[i] for i in rng.integers(len(TAGS), size=size)]
        words = [f"{tag.lower()}{rng.integers(1000)}" for tag in tags]
        relations = ["root" if head == 0 else "mod" for head in heads]
        found.append(Sentence(tuple(words), tuple(tags), tuple(heads), tuple(relations)))
    return found


def maps(sentences: list[Sentence], *heads: Callable[[Sentence], Floats]) -> list[Floats]:
    """(H, W, W) of each sentence, a head per function; rows are normalized."""
    found = []
    for sentence in sentences:
        weights = np.stack([head(sentence) for head in heads])
        found.append(weights / weights.sum(-1, keepdims=True))
    return found


def uniform(sentence: Sentence) -> Floats:
    return np.ones((len(sentence.words),) * 2)


def follows_the_head(sentence: Sentence) -> Floats:
    """0.6 on the head, more than 0.3 on the word itself, a little everywhere."""
    size = len(sentence.words)
    weights = np.full((size, size), 0.1 / size) + 0.3 * np.eye(size)
    for word, head in enumerate(sentence.heads):
        weights[word, head - 1 if head else word] += 0.6
    return weights


def at_offset(offset: int) -> Callable[[Sentence], Floats]:
    """All on the word at an offset, a little everywhere."""

    def weights(sentence: Sentence) -> Floats:
        size = len(sentence.words)
        return np.eye(size, k=offset) + 0.01

    return weights


def falls_off(decay: Callable[[Floats], Floats]) -> Callable[[Sentence], Floats]:
    """By a function of distance, 1 on the word itself."""

    def weights(sentence: Sentence) -> Floats:
        place = np.arange(len(sentence.words))
        distance = np.abs(place - place[:, None]).astype(float)
        return np.where(distance > 0, decay(np.maximum(distance, 1)), 1.0)

    return weights
