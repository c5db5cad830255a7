"""Batches: within the budget, complete, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qvbench.data import batching
from qvbench.data.batching import EvaluationSampler, Int64, Lengths, TrainSampler, cut_by_tokens
from qvbench.data.text import Vocabulary
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError

Make = Callable[..., TranslationDataModule]


def lengths(pairs: int = 1000, longest: int = 40, seed: int = 0) -> Lengths:
    random = np.random.default_rng(seed)
    source = random.integers(1, longest, pairs)
    return Lengths(source, np.clip(source + random.integers(-3, 4, pairs), 1, longest))


def as_sets(batches: list[Int64]) -> list[tuple[int, ...]]:
    return [tuple(batch.tolist()) for batch in batches]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(30, 200))
def test_cuts_are_as_late_as_the_budget_allows(costs: list[int], max_tokens: int) -> None:
    """Catches batches over the budget, and needlessly small ones; against a plain loop."""
    expected, size = [], 0
    for place, cost in enumerate(sorted(costs)):
        size += 1
        if size * cost > max_tokens:
            expected.append(place)
            size = 1
    assert cut_by_tokens(np.sort(np.array(costs)), max_tokens) == [*expected, len(costs)]


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_has_every_pair_once_within_the_budget(epoch: int) -> None:
    """Catches dropped tails, repeated pairs, and padding left out of the count."""
    size = lengths()
    for sampler in (TrainSampler(size, 300), EvaluationSampler(size, 300)):
        batches = sampler.batches(epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
        assert all(len(batch) * size.longer[batch].max() <= 300 for batch in batches)
        assert len(batches) == len(sampler)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    """Catches hidden state: an order that depends on which epochs were asked for before."""
    sampler = TrainSampler(lengths(), 300, seed=3)
    later = as_sets(sampler.batches(5))
    sampler.batches(1)
    assert as_sets(sampler.batches(5)) == later
    assert as_sets(TrainSampler(lengths(), 300, seed=3).batches(5)) == later
    assert as_sets(TrainSampler(lengths(), 300, seed=4).batches(5)) != later


def test_batches_differ_between_epochs_in_order_and_in_make_up() -> None:
    """Catches frozen batches whose order alone is shuffled."""
    first, second = (
        {frozenset(batch.tolist()) for batch in TrainSampler(lengths(), 300).batches(epoch)}
        for epoch in (0, 1)
    )
    assert len(first & second) < len(first) / 2


def test_batches_come_in_mixed_lengths() -> None:
    """Catches an epoch that goes from short to long sentences."""
    size = lengths()
    means = [size.longer[batch].mean() for batch in TrainSampler(size, 300).batches(0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_ranks_share_an_order_without_overlap() -> None:
    """Catches ranks that see the same batches, or unequally many, which hangs a training."""
    whole = as_sets(TrainSampler(lengths(), 300, seed=1).batches(2))
    ranks = [TrainSampler(lengths(), 300, 1, rank, 4) for rank in range(4)]
    shares = [as_sets(sampler.share(2)) for sampler in ranks]
    assert {len(share) for share in shares} == {len(whole) // 4} == {len(s) for s in ranks}
    assert [batch for step in zip(*shares, strict=True) for batch in step] == whole[
        : len(whole) // 4 * 4
    ]
    assert ranks[0].left_out == len(whole) % 4


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_evaluation_covers_every_pair_once_whatever_the_ranks(world_size: int) -> None:
    """Catches sentences counted twice or not at all, as DistributedSampler does."""
    shares = [
        EvaluationSampler(lengths(101), 300, rank, world_size).share(0)
        for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    seen = [pair for share in shares for batch in share for pair in batch.tolist()]
    assert sorted(seen) == list(range(101))


@pytest.mark.parametrize(("pairs", "max_tokens", "world_size"), [(3, 300, 5), (3, 30, 2)])
def test_ranks_that_cannot_share_an_evaluation_set_are_refused(
    pairs: int, max_tokens: int, world_size: int
) -> None:
    """Catches a rank that is done early, for which the others wait: too few pairs, or three
    batches of one pair each for two ranks."""
    size = Lengths(*(np.full(pairs, 20),) * 2)
    for rank in range(world_size):
        with pytest.raises(UserError, match=f"3 evaluation pairs are too few for {world_size}"):
            EvaluationSampler(size, max_tokens, rank, world_size)


def test_a_budget_smaller_than_a_sentence_is_refused() -> None:
    """Catches an endless loop, and a batch over the budget."""
    size = Lengths(np.array([3, 9, 4]), np.array([2, 11, 4]))
    with pytest.raises(UserError, match=r"max_tokens=10 is smaller .* 11 tokens \(pair 2\)"):
        TrainSampler(size, 10)
    with pytest.raises(UserError, match="eval_max_tokens=10"):
        EvaluationSampler(size, 10)
    assert len(TrainSampler(size, 11)) == 2


def test_fewer_batches_than_processes_are_refused() -> None:
    """Catches a rank without a batch, for which the others wait for ever."""
    with pytest.raises(UserError, match="1 training batches are too few for 2 processes"):
        TrainSampler(lengths(4, longest=5), 1000, world_size=2)


@pytest.mark.parametrize("longest", [40, 40_000])
def test_the_fast_order_is_that_of_lexsort(longest: int) -> None:
    """Catches an unstable sort, lengths cut off at 16 bits, and another order for old runs."""
    size = lengths(3000, longest)
    sampler = TrainSampler(size, 50_000, seed=3)
    noise = batching._NOISE * np.random.default_rng((3, 2)).random(3000)
    order = np.lexsort((size.target - size.source + noise, size.longer))
    in_order = sorted(sampler.batches(2), key=lambda batch: np.flatnonzero(order == batch[0])[0])
    assert np.concatenate(in_order).tolist() == order.tolist()


def test_rows_have_end_tokens_padding_and_line_numbers(data_module: Make) -> None:
    """Catches a missing </s>, padding on the wrong side, and rows mixed up between the sides."""
    module = data_module()
    vocabulary = module.vocabulary
    source, target = module.lines("val", "source"), module.lines("val", "target")
    seen = []
    for batch in module.val_dataloader():
        assert {tensor.dtype for tensor in batch} == {torch.int64}
        for row, line in enumerate(batch.index.tolist()):
            ids = [*vocabulary.encode(source[line]), Vocabulary.eos]
            assert batch.source[row].tolist() == padded(ids, batch.source.shape[1])
            ids = [Vocabulary.bos, *vocabulary.encode(target[line]), Vocabulary.eos]
            assert batch.target[row].tolist() == padded(ids, batch.target.shape[1])
            seen.append(line)
        for side in (batch.source, batch.target):
            assert (side[:, -1] != Vocabulary.pad).any(), "a column of nothing but padding"
    assert sorted(seen) == list(range(len(source)))


def padded(ids: list[int], width: int) -> list[int]:
    return ids + [Vocabulary.pad] * (width - len(ids))


def test_the_number_of_workers_changes_nothing(data_module: Make) -> None:
    """Catches batches reordered by workers."""
    alone, helped = (data_module(num_workers=workers).train_dataloader() for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
