"""The minimal model of arXiv:2603.15665, section 9: N directions carry N² modifier relations."""

from __future__ import annotations

import numpy as np

from qvbench.data.corpora.synthetic import (
    Examples,
    SyntheticCorpus,
    distinct,
    integers,
    nothing_asked,
)


class Modifiers(SyntheticCorpus):
    """Head words with their modifiers, then every relation once: which modifier is it?

    A direction is a kind of word. There is a head word of each of N directions, in random order,
    with a modifier of each direction behind it, in random order too, of random content. A relation
    (a, b) asks for the modifier of direction a of the head of direction b. With directions A and
    B, two contents, and ids written as ``a0`` (a modifier) and ``aB`` (a relation)::

        inputs   B  b1 a0 A  a1 b1 bA aB aA bB
        targets  .  .  .  .  .  .  b1 a0 a1 b1

    A sequence has ``N + 2 N**2`` tokens, of ``N + N * contents + N**2`` ids. The form is the
    suite's: the paper gives the counts and no task.

    Args:
        directions: N.
        contents: of the modifiers of a direction; a guess is right once in so many.
    """

    def __init__(
        self,
        directions: int = 4,
        contents: int = 16,
        train_examples: int = 100_000,
        val_examples: int = 3_000,
        seed: int = 0,
    ) -> None:
        length = directions + 2 * directions**2
        vocab_size = directions * (1 + contents + directions)
        super().__init__(length, vocab_size, train_examples, val_examples, seed)
        self.directions = directions
        self.contents = contents
        self.check(directions >= 1, f"directions must be at least 1, got {directions}")
        self.check(contents >= 2, f"contents must be at least 2, got {contents}")

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        size = self.directions
        heads = distinct(rng, size, count, size)[..., None]
        kinds = distinct(rng, size, count * size, size).reshape(count, size, size)
        content = integers(rng, self.contents, count, size, size)
        modifiers = size + kinds * self.contents + content
        sentences = np.concatenate([heads, modifiers], 2).reshape(count, -1)
        answers = np.empty((count, size**2), np.int64)
        held = (kinds * size + heads).reshape(count, -1)  # the relation of each modifier
        np.put_along_axis(answers, held, modifiers.reshape(count, -1), axis=1)
        asked = distinct(rng, size**2, count, size**2)
        inputs = np.concatenate([sentences, size * (1 + self.contents) + asked], 1)
        targets = nothing_asked(count, self.length)
        targets[:, -(size**2) :] = np.take_along_axis(answers, asked, axis=1)
        return Examples(inputs, targets)
