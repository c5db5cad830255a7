"""What synthetic corpora have in common: sequences drawn at random that ask for some tokens.

Shape letters: N sequences, L tokens of a sequence, K tokens that are drawn of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qvbench.errors import UserError

Int64 = npt.NDArray[np.int64]

NO_TOKEN = -1
"""Target where nothing is to be predicted, as after the end of a text; no id of any tokenizer."""

# Raised whenever the same seed and settings give other sequences than before.
_VERSION = 1

_AT_ONCE = 1024  # sequences, which bounds the memory of drawing them


class Examples(NamedTuple):
    """Sequences of ids."""

    inputs: Int64  # (N, L)
    targets: Int64  # (N, L), the answer where one is asked for, else NO_TOKEN


class SyntheticCorpus:
    """Sequences of ids drawn at random, all of one length, which ask for a token here and there.

    The splits ``train``, ``val`` and ``selection``, which is to choose settings on, are drawn from
    streams of their own. A larger split starts with the smaller one. All that is drawn comes from
    ``Generator.random``, so the sequences of a seed are the same with every version of NumPy.

    Args:
        length: tokens of a sequence, L.
        vocab_size: ids that there are.
        train_examples: sequences in ``train``.
        val_examples: sequences in ``val``, and in ``selection``.
        seed: what they are drawn from.

    Raises:
        UserError: a setting is out of its range, or what is asked does not fit in.
    """

    def __init__(
        self,
        length: int = 64,
        vocab_size: int = 256,
        train_examples: int = 100_000,
        val_examples: int = 3_000,
        seed: int = 0,
    ) -> None:
        self.length = length
        self.vocab_size = vocab_size
        self.train_examples = train_examples
        self.val_examples = val_examples
        self.seed = seed
        for name in ("train_examples", "val_examples"):
            self.check(getattr(self, name) >= 1, f"{name} must be at least 1")
        self.check(seed >= 0, f"seed must be at least 0, got {seed}")

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """``count`` sequences, each of which asks for a token at least."""
        raise NotImplementedError

    def draw_training(self, rng: np.random.Generator, count: int) -> Examples:
        """The same for ``train``, where others than those that are scored teach better."""
        return self.draw(rng, count)

    def examples(self, split: str) -> Iterator[Examples]:
        """The sequences of a split, some at a time."""
        count = self.train_examples if split == "train" else self.val_examples
        draw = self.draw_training if split == "train" else self.draw
        stream = self.splits().index(split)
        for number, start in enumerate(range(0, count, _AT_ONCE)):
            drawn = draw(np.random.default_rng((self.seed, stream, number)), _AT_ONCE)
            yield Examples(*(part[: count - start] for part in drawn))

    def prepare(self) -> None:
        """Nothing to fetch: sequences are drawn when they are asked for."""

    def splits(self) -> tuple[str, ...]:
        return "train", "val", "selection"

    def fingerprint(self) -> dict[str, object]:
        """What determines the sequences: name and settings."""
        settings = {name: value for name, value in vars(self).items() if value is not None}
        return {"corpus": type(self).__name__, "version": _VERSION, **settings}

    def check(self, fits: bool, message: str) -> None:
        """UserError that names the corpus, unless its settings fit."""
        if not fits:
            raise UserError(f"{type(self).__name__}: {message}")


def integers(rng: np.random.Generator, count: int, *shape: int) -> Int64:
    """Whole numbers below ``count``, all equally likely."""
    return (rng.random(shape) * count).astype(np.int64)


def distinct(rng: np.random.Generator, count: int, rows: int, drawn: int) -> Int64:
    """(N, K) whole numbers below ``count``, no number twice in a row, all equally likely."""
    chosen = np.empty((rows, 0), dtype=np.int64)
    for taken in range(drawn):
        number = integers(rng, count - taken, rows)  # among those that are left
        for earlier in np.sort(chosen, axis=1).T:
            number += number >= earlier
        chosen = np.column_stack((chosen, number))
    return chosen


def nothing_asked(rows: int, length: int) -> Int64:
    """Targets (N, L) to be filled in."""
    return np.full((rows, length), NO_TOKEN, dtype=np.int64)
