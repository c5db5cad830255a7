"""Greedy and beam search against exhaustive enumeration and a slow beam search."""

from __future__ import annotations

import math

import pytest
import torch

from qvbench.decoding.beam import beam_search
from qvbench.decoding.search import Hypothesis, greedy
from tests.decoding.language_models import (
    BOS,
    EOS,
    PAD,
    TableModel,
    TableState,
    enumerate_all,
    slow_beam_search,
)

PENALTIES = [0.0, 0.6, 1.0, 1.7]


def search(
    model: TableModel,
    sentences: list[int],
    beam_size: int,
    max_lengths: list[int],
    length_penalty: float,
    n_best: int | None = None,
    patience: float = math.inf,
) -> list[list[Hypothesis]]:
    return beam_search(
        model.step,
        model.start(sentences, beam_size),
        len(sentences),
        beam_size,
        torch.tensor(max_lengths),
        length_penalty,
        BOS,
        EOS,
        PAD,
        n_best,
        patience,
    )


def search_greedily(
    model: TableModel, sentences: list[int], max_lengths: list[int]
) -> list[Hypothesis]:
    state = model.start(sentences, 1)
    return greedy(model.step, state, len(sentences), torch.tensor(max_lengths), BOS, EOS, PAD)


def assert_same(found: list[Hypothesis], expected: list[tuple[float, list[int]]]) -> None:
    assert [list(hyp.tokens) for hyp in found] == [tokens for _, tokens in expected]
    assert [hyp.score for hyp in found] == pytest.approx([s for s, _ in expected], abs=1e-5)


@pytest.mark.parametrize("length_penalty", PENALTIES)
@pytest.mark.parametrize("max_length", [1, 2, 4])
def test_a_wide_beam_finds_the_best_of_all_translations(
    max_length: int, length_penalty: float
) -> None:
    """Catches any fault in scores, penalty, closing or stopping: 27 prefixes fit into the beam."""
    model = TableModel(sentences=3, seed=1)
    results = search(model, [0, 1, 2], 120, [max_length] * 3, length_penalty)
    for sentence, found in enumerate(results):
        every = enumerate_all(model, sentence, max_length, length_penalty)
        assert_same(found, every[:120])


@pytest.mark.parametrize("length_penalty", PENALTIES)
@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
def test_a_narrow_beam_equals_a_slow_search_that_never_stops_early(
    beam_size: int, length_penalty: float
) -> None:
    """Catches a stop that is too early, ends that crowd out live beams, and mixed-up parents."""
    model = TableModel(sentences=12, vocab=9, seed=2, end=0.5)
    max_lengths = [3, 9, 14, 7, 1, 12, 9, 5, 2, 11, 14, 6]
    results = search(model, list(range(12)), beam_size, max_lengths, length_penalty)
    for sentence, found in enumerate(results):
        expected = slow_beam_search(
            model, sentence, beam_size, max_lengths[sentence], length_penalty
        )
        assert_same(found, expected)


def test_n_best_cuts_the_list_and_stops_earlier() -> None:
    """Catches a bound taken against the wrong place of the list."""
    model = TableModel(sentences=6, vocab=9, seed=3, end=1.5)
    full = search(model, list(range(6)), 5, [20] * 6, 0.5)
    state = model.start(6, 5)
    lengths = torch.full((6,), 20)
    best = beam_search(model.step, state, 6, 5, lengths, 0.5, BOS, EOS, PAD, n_best=1)
    everything = model.start(6, 5)
    beam_search(model.step, everything, 6, 5, lengths, 0.5, BOS, EOS, PAD)
    assert best == [hyps[:1] for hyps in full]
    assert sum(state.rows_stepped) < sum(everything.rows_stepped)


@pytest.mark.parametrize(("beam_size", "patience"), [(2, 1.0), (4, 1.0), (4, 0.5), (3, 2.0)])
def test_patience_ends_a_sentence_at_its_ends(beam_size: int, patience: float) -> None:
    """Catches ends counted outside the beam, of impossible hypotheses, or over all sentences."""
    model = TableModel(sentences=12, vocab=9, seed=12, end=0.5)
    lengths = [14, 9, 14, 7, 1, 12, 9, 5, 2, 11, 14, 6]
    found = search(model, list(range(12)), beam_size, lengths, 1.0, None, patience)
    enough = max(beam_size, patience * beam_size)
    for sentence, hyps in enumerate(found):
        expected = slow_beam_search(model, sentence, beam_size, lengths[sentence], 1.0, enough)
        assert_same(hyps, expected)
    assert found != search(model, list(range(12)), beam_size, lengths, 1.0), "never stopped early"


def test_a_beam_of_one_without_penalty_is_greedy() -> None:
    """Catches a second-best </s> that enters the finished list of a beam of one."""
    model = TableModel(sentences=20, vocab=9, seed=4, end=0.5)
    lengths = [12] * 19 + [2]
    beams = search(model, list(range(20)), 1, lengths, 0.0)
    greedily = search_greedily(model, list(range(20)), lengths)
    assert [hyps[0].tokens for hyps in beams] == [hyp.tokens for hyp in greedily]
    assert [hyps[0].score for hyps in beams] == pytest.approx([hyp.score for hyp in greedily])


def test_greedy_takes_the_likeliest_token_every_time() -> None:
    """The same against the table itself: beam and greedy could share a fault."""
    model = TableModel(sentences=20, vocab=9, seed=5, end=0.5)
    for sentence, found in enumerate(search_greedily(model, list(range(20)), [10] * 20)):
        tokens: tuple[int, ...] = ()
        total = 0.0
        while len(tokens) < 10:
            row = model.log_probs(sentence, tokens)
            row[PAD] = row[BOS] = -torch.inf
            best = row.index(max(row))
            total += row[best]
            if best == EOS:
                break
            tokens = (*tokens, best)
        assert found.tokens == list(tokens)
        assert found.score == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_finished_sentences_are_dropped(beam_size: int) -> None:
    """Catches a search that computes sentences which have ended until the last one has."""
    model = TableModel(sentences=10, vocab=9, seed=8, end=1.0)
    lengths = torch.tensor([14, 3, 8, 1, 12, 5, 14, 9, 2, 14])
    state = model.start(10, beam_size)
    if beam_size == 1:
        greedy(model.step, state, 10, lengths, BOS, EOS, PAD)
    else:
        beam_search(model.step, state, 10, beam_size, lengths, 1.0, BOS, EOS, PAD)
    assert state.rows_stepped[-1] < state.rows_stepped[0], "nothing was ever dropped"
    assert state.rows_stepped == sorted(state.rows_stepped, reverse=True)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_max_length_is_honoured_exactly_and_then_the_search_ends(beam_size: int) -> None:
    """Catches an off-by-one: a model that never ends gets max_length tokens and as many steps."""
    model = TableModel(sentences=3, vocab=9, seed=9, end=-100.0)
    lengths = torch.tensor([1, 4, 7])
    state = model.start(3, beam_size)
    if beam_size == 1:
        found = greedy(model.step, state, 3, lengths, BOS, EOS, PAD)
    else:
        lists = beam_search(model.step, state, 3, beam_size, lengths, 1.0, BOS, EOS, PAD)
        found = [hyps[0] for hyps in lists]
    assert [len(hyp.tokens) for hyp in found] == [1, 4, 7]
    assert len(state.rows_stepped) == 7


@pytest.mark.parametrize("beam_size", [1, 3])
def test_pad_and_bos_are_never_produced(beam_size: int) -> None:
    """Catches special tokens in the output even where the model likes nothing better."""
    model = TableModel(sentences=4, vocab=9, seed=10)
    model.table[..., [PAD, BOS]] += 20
    if beam_size == 1:
        found = search_greedily(model, [0, 1, 2, 3], [9] * 4)
    else:
        found = [hyp for hyps in search(model, [0, 1, 2, 3], 3, [9] * 4, 1.0) for hyp in hyps]
    assert not {PAD, BOS, EOS} & {token for hyp in found for token in hyp.tokens}


def test_ties_are_broken_the_same_way_in_every_batch() -> None:
    """Catches ties decided by what else is in the batch: here everything ties with everything."""
    model = TableModel(sentences=5, vocab=9, seed=0, sharpness=0.0)
    together = search(model, [0, 1, 2, 3, 4], 4, [6] * 5, 1.0)
    assert all(hyps == together[0] for hyps in together)
    assert search(model, [3], 4, [6], 1.0) == [together[3]]


def test_impossible_tokens_leave_fewer_hypotheses() -> None:
    """Catches a hypothesis of probability 0 in the list: only </s> and one word exist."""
    model = TableModel(sentences=1, vocab=6, seed=0)
    model.table[..., :] = -torch.inf
    model.table[..., [EOS, 5]] = 0.0
    found = search(model, [0], 4, [2], 0.0)[0]
    assert sorted(hyp.tokens for hyp in found) == [[], [5], [5, 5]]


def test_half_precision_logits_are_normalised_in_float32() -> None:
    """Catches a softmax in half: over 40,000 equal logits bfloat16 would be off by percents."""
    lengths = torch.tensor([1])

    def flat(tokens: torch.Tensor, state: TableState) -> torch.Tensor:
        return torch.zeros(len(tokens), 40_000, dtype=torch.bfloat16)

    expected = -torch.log(torch.tensor(40_000.0)).item()
    hyp = greedy(flat, TableState(1, 1), 1, lengths, BOS, EOS, PAD)[0]
    assert hyp.score == pytest.approx(expected, rel=1e-6)
    best = beam_search(flat, TableState(1, 2), 1, 2, lengths, 0.0, BOS, EOS, PAD)[0][0]
    assert best.score == pytest.approx(expected, rel=1e-6)


def test_a_network_that_gives_nan_is_an_error() -> None:
    """Catches a diverged network whose translations would be scored as if they meant something."""
    model = TableModel(sentences=2, seed=0)
    model.table[1] = torch.nan
    with pytest.raises(FloatingPointError, match="NaN"):
        search(model, [0, 1], 2, [5, 5], 1.0)
    with pytest.raises(FloatingPointError, match="NaN"):
        search_greedily(model, [0, 1], [5, 5])


def test_no_sentences_is_no_hypotheses() -> None:
    """Catches a crash on an empty batch."""
    model = TableModel(sentences=1)
    assert search(model, [], 3, [], 1.0) == []
    assert search_greedily(model, [], []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_best": 4}, "n_best"),
        ({"n_best": 0}, "n_best"),
        ({"length_penalty": -0.5}, "length_penalty"),
        ({"length_penalty": 40.0}, "length_penalty"),
        ({"length_penalty": math.inf}, "length_penalty"),
        ({"patience": 0.0}, "patience"),
        ({"patience": math.nan}, "patience"),
        ({"max_lengths": [4, 0]}, "max_length"),
        ({"max_lengths": [4]}, "max_lengths"),
    ],
)
def test_bad_arguments_are_refused(settings: dict[str, object], message: str) -> None:
    """Catches a search that runs with settings under which its bound does not hold."""
    arguments = {"beam_size": 3, "max_lengths": [4, 4], "length_penalty": 1.0} | settings
    with pytest.raises(ValueError, match=message):
        search(TableModel(sentences=2), [0, 1], **arguments)  # type: ignore[arg-type]
