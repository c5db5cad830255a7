"""The likeliest continuations against a whole log-softmax, and who stays where in the batch."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from qvbench.attention.cache import KVCache, reorder
from qvbench.decoding import search
from qvbench.decoding.beam import _order_of_places
from qvbench.decoding.search import _top, likeliest, unfinished

BANNED = torch.tensor([0, 2])


@pytest.mark.parametrize("in_cache", [1, 200, 1 << 20])
def test_likeliest_is_the_top_of_the_log_softmax(
    monkeypatch: pytest.MonkeyPatch, in_cache: int
) -> None:
    """Catches rows mixed up between parts, a denominator without the banned, a wrong column."""
    monkeypatch.setattr(search, "IN_CACHE", in_cache)
    folded, no_multiple_of_eight, too_small = 64, 50, 16
    for vocab, count in product((folded, no_multiple_of_eight, too_small), (1, 4, 10)):
        generator = torch.Generator().manual_seed(vocab + count)
        logits = 5 * torch.randn(13, vocab, generator=generator, dtype=torch.float64)
        log_p = logits.log_softmax(-1).index_fill(1, BANNED, -torch.inf)
        expected, columns = log_p.topk(count)
        found, tokens = likeliest(logits.clone(), BANNED, count)
        torch.testing.assert_close(found, expected)
        assert torch.equal(tokens, columns), (vocab, count)


def test_top_is_topk() -> None:
    """Catches a fold that loses a candidate or gives it the wrong column."""
    generator = torch.Generator().manual_seed(0)
    for vocab, count in product((6, 16, 96, 1000, 1001), (1, 2, 6)):
        logits = torch.randn(50, vocab, generator=generator, dtype=torch.float64)  # without ties
        expected = logits.topk(count)
        best, columns = _top(logits, count)
        assert torch.equal(best, expected.values), (vocab, count)
        assert torch.equal(columns, expected.indices), (vocab, count)


def test_the_last_ones_fill_the_gaps() -> None:
    """Catches all rows behind a finished one copied, one twice, or one forgotten."""
    done = torch.tensor([False, True, False, False, True, False, True])
    assert unfinished(done) == [0, 5, 2, 3]
    assert unfinished(torch.tensor([True, False])) == [1]
    assert unfinished(torch.tensor([True, True])) == []
    assert unfinished(torch.tensor([False, False])) is None


def test_the_first_child_takes_the_place_of_its_parent() -> None:
    """Catches a hypothesis lost or doubled, and caches copied for nothing."""
    parents = torch.tensor([[2, 2, 0, 2, 3], [0, 0, 0, 0, 0], [4, 3, 2, 1, 0]])
    order = _order_of_places(parents)
    assert torch.equal(order.sort().values, torch.arange(5).expand(3, -1))
    assert torch.equal(parents.gather(1, order)[0], torch.tensor([0, 2, 2, 3, 2]))
    assert order[0, 2] == 0, "the best of the three that continue the same one stays"
    assert torch.equal(parents.gather(1, order)[2], torch.arange(5))


@pytest.mark.parametrize("left", [6, 4, 1])
def test_reordering_in_place_is_taking_rows(left: int) -> None:
    """Catches a row overwritten before it is copied, and room that belongs to others."""
    generator = torch.Generator().manual_seed(left)
    first, later = torch.randn(2, 6, 2, 3, 5, generator=generator).unbind()
    rows = torch.randint(6, (left,), generator=generator)
    for chosen in (rows, torch.arange(left), torch.arange(6).flip(0)[:left]):
        cache = KVCache.of([first])
        cache.append([later])
        reorder([cache], chosen)
        (found,) = cache.append([later[:left]])
        expected = torch.cat([first[chosen], later[chosen], later[:left]], 2)
        assert torch.equal(found, expected)


def test_a_cache_of_something_leaves_it_alone() -> None:
    """Catches what one layer caches moved under another that shares it."""
    shared = torch.randn(4, 1, 3, 2)
    before = shared.clone()
    reorder([KVCache.of([shared])], torch.tensor([3, 2]))
    assert torch.equal(shared, before)
