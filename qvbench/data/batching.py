"""Batches by a budget of tokens, in an order that is a function of seed and epoch alone.

Letters: N pairs, B pairs of a batch, S padded source length, T padded target length.

Length buckets with a constant number of batches. What a pair costs is the longer of its two
sides, as in the paper's setup, so all pairs are sorted by that cost and cut wherever the next
pair would break the budget. The sorted costs are the same in every epoch, therefore the cuts are
too; what changes is which of the pairs with one cost meet in a batch: those are ordered by how
much longer the target is than the source, plus noise, so that the shorter side needs little
padding while batches differ from epoch to epoch. Sorting the 4.5 million pairs of WMT17's size
takes about a second; an epoch's order is kept as 8 bytes per pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from qvbench.data.corpora.synthetic import Int64
from qvbench.errors import UserError

_NOISE = 3.0  # in subwords of length difference


class Batch(NamedTuple):
    """Pairs of sentences as int64, each side right-padded with 0."""

    source: Tensor  # (B, S), rows "tokens </s>"
    target: Tensor  # (B, T), rows "<s> tokens </s>"
    index: Tensor  # type: ignore[assignment]  # (B,), line number in the corpus's split, from 0


class Windows(NamedTuple):
    """Sequences of equal length as int64: windows of a text, or examples that were drawn."""

    inputs: Tensor  # (B, L)
    targets: Tensor  # (B, L), the token after each, or NO_TOKEN
    index: Tensor  # type: ignore[assignment]  # (B,), number of the sequence in its split, from 0
    # (B, L), the same for inputs of one document, which alone they attend to; None for all of them.
    documents: Tensor | None = None


class Lengths(NamedTuple):
    """What a pair costs. Both (N,), subwords and the end token counted, as the model sees them."""

    source: Int64
    target: Int64

    @property
    def longer(self) -> Int64:
        return np.maximum(self.source, self.target)


class DataPosition(NamedTuple):
    """How far a run has consumed its data.

    The epoch whose order is used and the trainer's number of it may differ: resumed from a
    checkpoint that was written as an epoch ended, Lightning 2.6 skips a number.
    """

    epoch: int
    batches: int  # of the epoch, handed out
    trainer_epoch: int


def cut_by_tokens(ascending: Int64, max_tokens: int) -> list[int]:
    """The ends of the batches of pairs sorted by cost (N,), as late as the budget allows."""
    cuts: list[int] = []
    start = 0
    while start < len(ascending):
        window = ascending[start : start + max_tokens // int(ascending[start])]
        spent = window * np.arange(1, len(window) + 1)
        start += int(np.searchsorted(spent, max_tokens, side="right"))
        cuts.append(start)
    return cuts


def _by_cost(lengths: Lengths, noise: npt.NDArray[np.float64] | float) -> Int64:
    """Pairs sorted by cost, those of one cost by difference of lengths and noise."""
    longer = lengths.longer  # sorts are stable, so that the order is the same on every machine
    if int(longer.max(initial=0)) < 1 << 15:  # NumPy sorts 16 bits by radix, 20 times faster
        longer = longer.astype(np.int16)
    by_difference = np.argsort(lengths.target - lengths.source + noise, kind="stable")
    return by_difference[np.argsort(longer[by_difference], kind="stable")]


class _TokenSampler:
    """The cut by ``max_tokens``, pairs times the longest side of a batch, padding included.

    Of R ranks (processes, ``world_size``), rank r takes the batches r, r + R, … of one order. An
    iterator gives them from :attr:`position` on, which the loader moves.
    """

    setting = "max_tokens"

    def __init__(self, lengths: Lengths, max_tokens: int, rank: int, world_size: int) -> None:
        self.lengths = lengths
        self.rank = rank
        self.world_size = world_size
        self.trainer_epoch = 0
        self.position = DataPosition(0, 0, 0)
        longest = int(lengths.longer.max())
        if longest > max_tokens:
            raise UserError(
                f"{self.setting}={max_tokens} is smaller than a sentence of {longest} tokens (pair "
                f"{int(lengths.longer.argmax()) + 1:,}); raise it to {longest} at least"
            )
        self._cuts = cut_by_tokens(np.sort(lengths.longer), max_tokens)

    def batches(self, epoch: int) -> list[Int64]:
        """All batches of an epoch, of every rank, as rows of the stored split."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Number of this rank's batches, the same in every epoch."""
        return len(self._cuts) // self.world_size

    def __iter__(self) -> Iterator[Int64]:
        return iter(self.share(self.position.epoch)[self.position.batches :])

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.trainer_epoch = epoch

    def share(self, epoch: int) -> list[Int64]:
        """This rank's batches of an epoch."""
        return self.batches(epoch)[self.rank :: self.world_size][: len(self)]


class TrainSampler(_TokenSampler):
    """Every pair once per epoch, in batches whose order and content change with the epoch.

    All ranks take equally many: up to R - 1 batches at the end of an epoch's order are left out,
    others every epoch.

    Raises:
        UserError: a pair is longer than the budget, or there are fewer batches than processes.
    """

    def __init__(
        self, lengths: Lengths, max_tokens: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(lengths, max_tokens, rank, world_size)
        self.seed = seed
        if len(self._cuts) < world_size:
            raise UserError(
                f"{len(self._cuts)} training batches are too few for {world_size} processes; "
                "lower max_tokens or the number of devices"
            )

    @property
    def left_out(self) -> int:
        """Batches per epoch that no rank takes."""
        return len(self._cuts) % self.world_size

    def batches(self, epoch: int) -> list[Int64]:
        rng = np.random.default_rng((self.seed, epoch))
        order = _by_cost(self.lengths, _NOISE * rng.random(len(self.lengths.source)))
        buckets = np.split(order, self._cuts[:-1])
        return [buckets[number] for number in rng.permutation(len(buckets))]


class EvaluationSampler(_TokenSampler):
    """Every pair exactly once, sorted by length, whatever the number of ranks.

    Where the number of batches is no multiple of the ranks', the largest are cut in two until it
    is: nothing is repeated and nothing left out, and sums over pairs stay what they are. All ranks
    take equally many, since one that has finished would leave the others waiting for ever.

    Raises:
        UserError: a pair is longer than the budget, or there are too few pairs for the ranks.
    """

    setting = "eval_max_tokens"

    def __init__(
        self, lengths: Lengths, max_tokens: int, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(lengths, max_tokens, rank, world_size)
        pairs = len(lengths.source)
        while len(self._cuts) % world_size and len(self._cuts) < pairs:
            sizes = np.diff(self._cuts, prepend=0)
            largest = int(sizes.argmax())
            self._cuts.insert(largest, self._cuts[largest] - int(sizes[largest]) // 2)
        if len(self._cuts) % world_size:
            raise UserError(
                f"{pairs} evaluation pairs are too few for {world_size} processes to take "
                "equally many batches; lower the number of devices"
            )

        self._batches = np.split(_by_cost(lengths, noise=0), self._cuts[:-1])

    def batches(self, epoch: int) -> list[Int64]:
        return self._batches


class TrainWindows(TrainSampler):
    """Windows of ``context`` tokens, by the place of their first token in a text of ``tokens``.

    In an epoch they stand one after the other, from a place among the first ``context`` that
    changes with the epoch: every token is read once, but for less than two windows at the ends.

    Raises:
        UserError: the text is too short, or there are fewer batches than processes.
    """

    def __init__(
        self,
        tokens: int,
        context: int,
        max_tokens: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        count = (tokens - context) // context  # each with its next token, wherever the first begins
        if count < 1:
            raise UserError(
                f"a training text of {tokens:,} tokens is shorter than two windows of "
                f"context={context}; lower context, or train on more text"
            )
        lengths = np.full(count, context)
        super().__init__(Lengths(lengths, lengths), max_tokens, seed, rank, world_size)
        self.context = context

    def batches(self, epoch: int) -> list[Int64]:
        first = np.random.default_rng((self.seed, epoch, 1)).integers(self.context)
        return [first + self.context * numbers for numbers in super().batches(epoch)]


class EvaluationWindows(EvaluationSampler):
    """Windows that cover a text of ``tokens`` from its first to its last, the last one shorter; by
    the place of their first token. Every token but the first is predicted once.

    Raises:
        UserError: there are too few windows for the ranks.
    """

    def __init__(
        self, tokens: int, context: int, max_tokens: int, rank: int = 0, world_size: int = 1
    ) -> None:
        first = np.arange(0, tokens - 1, context)
        lengths = np.minimum(context, tokens - 1 - first)
        super().__init__(Lengths(lengths, lengths), max_tokens, rank, world_size)
        self._batches = [context * numbers for numbers in self._batches]
