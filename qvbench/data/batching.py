"""Batches by a budget of tokens, in an order that is a function of seed and epoch alone.

Letters: N pairs, B pairs of a batch, S padded source length, T padded target length.

Length buckets with a constant number of batches. What a pair costs is the longer of its two
sides, as in the paper's setup, so all pairs are sorted by that cost and cut wherever the next
pair would break the budget. The sorted costs are the same in every epoch, therefore the cuts are
too; what changes is which of the pairs with one cost meet in a batch: those are ordered by how
much longer the target is than the source, plus noise, so that the shorter side needs little
padding while batches differ from epoch to epoch. Sorting the 4.5 million pairs of WMT17's size
takes about a second; an epoch's order is kept as 8 bytes a pair.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qvbench.data.store import Side, StoredSplit
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError

Int64 = npt.NDArray[np.int64]

_NOISE = 3.0  # in subwords of length difference
_SAMPLED_PAIRS = 500_000  # to tell the share of padding from


class Batch(NamedTuple):
    """Pairs of sentences, each side right-padded with 0.

    Attributes:
        source: (B, S) int64, rows ``tokens </s>``.
        target: (B, T) int64, rows ``<s> tokens </s>``.
        index: (B,) int64, line number in the corpus's split, from 0.
    """

    source: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index(), which nobody needs here

    def fingerprint(self) -> str:
        """SHA-256 of the token ids of both sides, padding included, as int64."""
        digest = hashlib.sha256()
        for side in (self.source, self.target):
            digest.update(side.cpu().numpy().tobytes())
        return digest.hexdigest()


class Shape(NamedTuple):
    """Of a batch: pairs, and tokens of its longest side with the end token."""

    pairs: int
    length: int


class PairDataset:
    """The pairs of a stored split; an item is a whole :class:`Batch`, cut out of the memory map.

    Args:
        split: stored token ids.
    """

    def __init__(self, split: StoredSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, pairs: Int64) -> Batch:
        return Batch(
            torch.from_numpy(_padded(self.split.source, pairs, begin=False)),
            torch.from_numpy(_padded(self.split.target, pairs, begin=True)),
            torch.from_numpy(np.asarray(self.split.lines[pairs])),
        )


def _padded(side: Side, pairs: Int64, begin: bool) -> Int64:
    """Rows of ids with ``</s>`` after them, and ``<s>`` before them where asked."""
    starts = np.asarray(side.offsets[pairs])
    lengths = np.asarray(side.offsets[pairs + 1]) - starts
    first = int(begin)
    columns = np.arange(int(lengths.max(initial=0)))
    inside = columns < lengths[:, None]
    rows = np.full((len(pairs), first + len(columns) + 1), Vocabulary.pad, dtype=np.int64)
    rows[:, :first] = Vocabulary.bos
    rows[:, first : first + len(columns)][inside] = side.ids[(starts[:, None] + columns)[inside]]
    rows[np.arange(len(pairs)), first + lengths] = Vocabulary.eos
    return rows


class Lengths(NamedTuple):
    """What a pair costs. Both (N,), subwords and the end token counted, as the model sees them."""

    source: Int64
    target: Int64

    @classmethod
    def of(cls, split: StoredSplit) -> Lengths:
        return cls(split.source.lengths + 1, split.target.lengths + 1)

    @property
    def longer(self) -> Int64:
        return np.maximum(self.source, self.target)


def cut_by_tokens(ascending: Int64, max_tokens: int) -> list[int]:
    """Where to cut pairs sorted by cost: pairs times the highest cost stays within the budget.

    Args:
        ascending: costs (N,), sorted.
        max_tokens: budget of a batch; no cost is above it.

    Returns:
        The first pair of every batch but the first, and N.
    """
    cuts: list[int] = []
    start = 0
    while start < len(ascending):
        window = ascending[start : start + max_tokens // int(ascending[start])]
        spent = window * np.arange(1, len(window) + 1)
        start += int(np.searchsorted(spent, max_tokens, side="right"))
        cuts.append(start)
    return cuts


def _small(lengths: Int64) -> npt.NDArray[Any]:
    """The same lengths in 16 bits where they fit: NumPy sorts those by radix, 20 times faster."""
    return lengths.astype(np.int16) if int(lengths.max(initial=0)) < 1 << 15 else lengths


def _by_cost(longer: Int64, within: npt.NDArray[Any]) -> Int64:
    """Pairs sorted by cost, and by ``within`` where costs are equal: ``lexsort``, in half the time.

    Both sorts are stable, so that the order is the same on every machine.
    """
    first = np.argsort(within, kind="stable")
    return first[np.argsort(_small(longer)[first], kind="stable")]


class _TokenSampler:
    """What training and evaluation share: the cut, the check of the budget, one rank's part."""

    def __init__(
        self, lengths: Lengths, max_tokens: int, rank: int, world_size: int, setting: str
    ) -> None:
        self.lengths = lengths
        self.max_tokens = max_tokens
        self.rank = rank
        self.world_size = world_size
        longest = int(lengths.longer.max())
        if longest > max_tokens:
            raise UserError(
                f"{setting}={max_tokens} is smaller than a sentence of {longest} tokens (pair "
                f"{int(lengths.longer.argmax()) + 1:,}); raise it to {longest} at least"
            )
        self._cuts = cut_by_tokens(np.sort(lengths.longer), max_tokens)

    def batches(self, epoch: int) -> list[Int64]:
        """All batches of an epoch, of every rank, as rows of the stored split."""
        raise NotImplementedError

    def largest_shapes(self) -> list[Shape]:
        """The batch with the most padded tokens and the one with the longest side, if another.

        The cuts are those of every epoch. A batch's other side may be shorter, never longer.
        """
        ends = np.asarray(self._cuts)
        counts = np.diff(ends, prepend=0)
        longest = np.sort(self.lengths.longer)[ends - 1]
        picked = (int(np.argmax(counts * longest)), len(ends) - 1)
        return [Shape(int(counts[n]), int(longest[n])) for n in dict.fromkeys(picked)]

    def share(self, epoch: int) -> list[Int64]:
        """This rank's batches of an epoch."""
        return self.batches(epoch)[self.rank :: self.world_size][: len(self)]

    def __len__(self) -> int:
        """Number of this rank's batches, the same in every epoch."""
        raise NotImplementedError


def _efficiency(lengths: Lengths, batches: list[Int64]) -> float:
    """Share of real tokens among those of padded batches, both sides."""
    sizes = np.array([len(pairs) for pairs in batches])
    order, starts = np.concatenate(batches), np.cumsum(sizes) - sizes
    padded = sum(int(sizes @ np.maximum.reduceat(side[order], starts)) for side in lengths)
    return sum(int(side.sum()) for side in lengths) / padded


class TrainSampler(_TokenSampler):
    """Every pair once an epoch, in batches whose order and make-up change with the epoch.

    With R ranks, rank r takes the batches r, r + R, … of one common order. All ranks take equally
    many: up to R - 1 batches at the end of an epoch's order are left out, others every epoch.

    Args:
        lengths: of the pairs.
        max_tokens: pairs times the longest side of a batch, padding included.
        seed: of the order.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        UserError: a pair is longer than the budget, or there are fewer batches than processes.
    """

    def __init__(
        self, lengths: Lengths, max_tokens: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(lengths, max_tokens, rank, world_size, "max_tokens")
        self.seed = seed
        if len(self._cuts) < world_size:
            raise UserError(
                f"{len(self._cuts)} training batches are too few for {world_size} processes; "
                "lower max_tokens or the number of devices"
            )

    def __len__(self) -> int:
        return len(self._cuts) // self.world_size

    @property
    def left_out(self) -> int:
        """Batches that no rank takes, an epoch."""
        return len(self._cuts) % self.world_size

    def padding_efficiency(self) -> float:
        """Share of real tokens among those that the model computes, both sides, in [0, 1].

        Of the first epoch; from an evenly spaced sample of pairs where there are very many, so
        that opening a run does not wait for the sorting of all.
        """
        step = -(-len(self.lengths.longer) // _SAMPLED_PAIRS)
        if step == 1:
            return _efficiency(self.lengths, self.batches(epoch=0))
        lengths = Lengths(*(side[::step] for side in self.lengths))
        return _efficiency(lengths, TrainSampler(lengths, self.max_tokens, self.seed).batches(0))

    def batches(self, epoch: int) -> list[Int64]:
        random = np.random.default_rng((self.seed, epoch))
        difference = self.lengths.target - self.lengths.source
        noise = _NOISE * random.random(len(difference))
        order = _by_cost(self.lengths.longer, difference + noise)
        buckets = np.split(order, self._cuts[:-1])
        return [buckets[number] for number in random.permutation(len(buckets))]


class EvaluationSampler(_TokenSampler):
    """Every pair exactly once, sorted by length, whatever the number of ranks.

    Where the number of batches is no multiple of the ranks', the largest are cut in two until it
    is: nothing is repeated and nothing left out, and sums over pairs stay what they are. All ranks
    take equally many, since one that has finished would leave the others waiting for ever.

    Args:
        lengths: of the pairs.
        max_tokens: pairs times the longest side of a batch, padding included.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        UserError: a pair is longer than the budget, or there are too few pairs for the ranks.
    """

    def __init__(
        self, lengths: Lengths, max_tokens: int, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(lengths, max_tokens, rank, world_size, "eval_max_tokens")
        difference = lengths.target - lengths.source
        order = _by_cost(lengths.longer, difference)
        self._batches = np.split(order, self._cuts[:-1])
        while len(self._batches) % world_size and len(self._batches) < len(order):
            largest = max(range(len(self._batches)), key=lambda n: len(self._batches[n]))
            self._batches[largest : largest + 1] = np.array_split(self._batches[largest], 2)
        if len(self._batches) % world_size:
            raise UserError(
                f"{len(order)} evaluation pairs are too few for {world_size} processes to take "
                "equally many batches; lower the number of devices"
            )

    def __len__(self) -> int:
        return len(self._batches) // self.world_size

    def batches(self, epoch: int) -> list[Int64]:
        return self._batches
