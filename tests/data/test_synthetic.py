"""Sequences that ask for tokens: what is asked, how it is drawn, stored and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qvbench.data.corpora import (
    AssociativeRecall,
    Copying,
    Induction,
    Modifiers,
    SyntheticCorpus,
)
from qvbench.data.corpora.synthetic import NO_TOKEN
from qvbench.data.synthetic import SyntheticDataModule
from qvbench.errors import UserError

pytestmark = pytest.mark.slow  # every test draws thousands of sequences; `make test` runs them

Make = Callable[..., SyntheticDataModule]
CORPORA = (AssociativeRecall, Copying, Induction)
SIZES = {"length": 32, "vocab_size": 40, "train_examples": 1500, "val_examples": 300}


def rows(corpus: SyntheticCorpus, split: str = "train") -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of every sequence."""
    drawn = corpus.examples(split)
    return [(i, t) for part in drawn for i, t in zip(*map(np.ndarray.tolist, part), strict=True)]


@pytest.fixture
def module(tmp_path: Path) -> Make:
    """Makes a data module over a corpus, set up already."""

    def make(corpus: SyntheticCorpus, **settings: Any) -> SyntheticDataModule:
        sizes = {"max_tokens": 320, "eval_max_tokens": 320, "cache_dir": str(tmp_path)}
        made = SyntheticDataModule(corpus, **{**sizes, **settings})
        made.setup()
        return made

    return make


@pytest.mark.parametrize("pairs", [1, 5, 8])
def test_a_query_asks_for_the_value_of_its_key(pairs: int) -> None:
    """Catches a target one place off, a key with two values, a key or value from the other's half,
    and a query at an odd place, within the pairs, or that is missing."""
    for inputs, targets in rows(AssociativeRecall(pairs, **SIZES)):
        bound = dict(zip(inputs[: 2 * pairs : 2], inputs[1 : 2 * pairs : 2], strict=True))
        assert len(bound) == len({*bound.values()}) == pairs
        assert 1 <= min(bound) <= max(bound) < 20 <= min(bound.values())
        asked = [place for place, target in enumerate(targets) if target != NO_TOKEN]
        assert sorted(inputs[place] for place in asked) == sorted(bound)
        for place in asked:
            assert place >= 2 * pairs
            assert place % 2 == 0
            assert targets[place] == bound[inputs[place]]


def test_short_sequences_are_for_training_alone() -> None:
    """Catches a query among the zeros after a short sequence, of another key than its own, and
    other sequences to validate on than without."""
    plain, short = (AssociativeRecall(4, short_pairs=n, **SIZES) for n in (None, 2))
    assert rows(short, "val") == rows(plain, "val")
    found = rows(short, "train")
    assert found[::4] == rows(plain, "train")[::4]
    del found[::4]
    for inputs, targets in found:
        bound = {inputs[0]: inputs[1], inputs[2]: inputs[3]}
        assert {inputs[place]: targets[place] for place in (4, 6)} == bound
        assert not any(inputs[8:])
        assert sum(target != NO_TOKEN for target in targets) == 2


@pytest.mark.parametrize("power", [0.01, 0.5, 1.0])
def test_gaps_follow_the_power_law(power: float) -> None:
    """Catches weights that fall too fast or not at all, for one query by the law itself, for two
    by going through all pairs of gaps."""
    law = np.arange(1, 13) ** (power - 1)
    law /= law.sum()
    two = sum(
        law[i] * law[j] / (1 - law[i]) * (np.eye(12)[i] + np.eye(12)[j])
        for i in range(12)
        for j in range(12)
        if i != j
    )
    for pairs, expected in ((1, law), (2, two)):
        sizes = {"length": 24 + 2 * pairs, "vocab_size": 40, "train_examples": 20_000}
        (first,) = {2 * pairs}
        targets = np.array([target for _, target in rows(AssociativeRecall(pairs, power, **sizes))])
        counts = (targets != NO_TOKEN).sum(0)[first::2]
        spread = (counts - 20_000 * expected) ** 2 / (20_000 * expected)
        assert spread.sum() < 40, counts  # 11 degrees of freedom: one in 30,000 is beyond


def test_every_relation_is_asked_for_once() -> None:
    """Catches a modifier of another head or direction as the answer, and ids that overlap."""
    corpus = Modifiers(directions=3, contents=5, train_examples=200, val_examples=2)
    assert (corpus.length, corpus.vocab_size) == (21, 27)
    orders = set()
    for inputs, targets in rows(corpus):
        held = {}
        for place in range(0, 12, 4):
            head, *modifiers = inputs[place : place + 4]
            held |= {((word - 3) // 5, head): word for word in modifiers}
        assert len(held) == 9
        assert all(0 <= direction < 3 > head >= 0 for direction, head in held)
        assert targets[:12] == [NO_TOKEN] * 12
        asked = [divmod(word - 18, 3) for word in inputs[12:]]
        assert sorted(asked) == sorted(held)
        assert targets[12:] == [held[relation] for relation in asked]
        orders.add((*inputs[::4][:3], *asked[:3]))
    assert len(orders) > 150
    assert [rows(corpus)[0]] != [rows(corpus, "val")[0]]
    with pytest.raises(UserError, match="contents must be at least 2"):
        Modifiers(contents=1)


def test_keys_and_values_are_all_equally_likely() -> None:
    """Catches draws without repetition that favor some numbers, and filler that is drawn."""
    drawn = np.array([inputs for inputs, _ in rows(AssociativeRecall(4, **SIZES))])
    for start, first, last in ((0, 1, 20), (1, 20, 40)):
        counts = np.bincount(drawn[:, start:8:2].ravel(), minlength=40)[first:last]
        expected = counts.sum() / len(counts)
        assert (((counts - expected) ** 2) / expected).sum() < len(counts) + 5 * len(counts) ** 0.5
    assert ((drawn[:, 8:] != 0).sum(1) == 4).all()


def test_copying_asks_for_the_string() -> None:
    """Catches a string cut short, a separator within, and lengths that are always the same."""
    sizes = set()
    for inputs, targets in rows(Copying(**SIZES)):
        size = inputs.index(0)
        string = inputs[:size]
        assert inputs == [*string, 0, *string[:-1], *[0] * (32 - 2 * size)]
        assert targets == [*[NO_TOKEN] * size, *string, *[NO_TOKEN] * (32 - 2 * size)]
        sizes.add(size)
    assert sizes == set(range(1, 17))


def test_induction_asks_what_followed_the_last_time() -> None:
    """Catches the first occurrence for the last, a look ahead, and a sequence that asks nothing."""
    for inputs, targets in rows(Induction(**SIZES)):
        for place, token in enumerate(inputs):
            before = [n for n in range(place) if inputs[n] == token]
            assert targets[place] == (inputs[before[-1] + 1] if before else NO_TOKEN)
        assert targets[-1] != NO_TOKEN


@pytest.mark.parametrize("corpus", CORPORA)
def test_splits_are_drawn_apart(corpus: Any) -> None:
    """Catches validation on what is trained on, chunks that repeat, a seed without effect, and a
    larger split that is another one."""
    made = corpus(**SIZES)
    drawn = {split: [tuple(i) for i, _ in rows(made, split)] for split in made.splits()}
    assert {split: len(found) for split, found in drawn.items()} == {
        "train": 1500,
        "val": 300,
        "selection": 300,
    }
    long = {split: {i for i in found if i.count(0) < 16} for split, found in drawn.items()}
    assert sum(map(len, long.values())) == len(set().union(*long.values()))
    assert len(long["train"]) > 700
    assert rows(corpus(**SIZES)) == rows(made)
    assert rows(corpus(**SIZES, seed=1)) != rows(made)
    assert rows(corpus(**{**SIZES, "train_examples": 1100})) == rows(made)[:1100]


@pytest.mark.parametrize("corpus", CORPORA)
def test_stored_sequences_are_those_drawn(corpus: Any, module: Make) -> None:
    """Catches ids that the store's type cuts off, inputs taken for targets, a batch that is cut
    before the last question or goes on after it, and a validation that leaves some sequences out or
    is not of the split that was asked for."""
    made = module(corpus(**SIZES | {"vocab_size": 70_000}), val_split="selection")
    expected = rows(made.corpus, "selection")
    seen = {}
    for batch in made.val_dataloader():
        assert batch.inputs.numel() <= 320
        inputs, targets, numbers = (part.tolist() for part in batch[:3])
        assert batch.documents is None
        assert any(target[-1] != NO_TOKEN for target in targets)
        seen |= dict(zip(numbers, zip(inputs, targets, strict=True), strict=True))
    for number, (inputs, targets) in enumerate(expected):
        size = len(seen[number][0])
        assert seen[number] == (inputs[:size], targets[:size])
        assert targets[size:] == [NO_TOKEN] * (32 - size)
    assert len(made.vocabulary) == 70_000
    asked = sum(target != NO_TOKEN for _, targets in expected for target in targets)
    assert f"selection: 300 sequences of 32 tokens, which ask for {asked:,}" in made.describe()
    again = type(made.vocabulary).from_json(made.vocabulary.to_json())
    assert again.fingerprint() == made.vocabulary.fingerprint()
    assert made.fingerprint != module(corpus(**SIZES)).fingerprint


def test_a_loader_of_sequences_goes_on_in_mid_epoch(module: Make) -> None:
    """Catches sequences replayed or skipped by a resume, and a state of other ones taken up."""
    corpus = AssociativeRecall(4, **SIZES)
    loader = module(corpus).train_dataloader()
    loader.sampler.set_epoch(1)
    iterator = iter(loader)
    done = [next(iterator) for _ in range(3)]
    state = loader.state_dict()
    expected = [*iterator]
    assert sorted(n for b in [*done, *expected] for n in b.index.tolist()) == [*range(1500)]
    rebuilt = module(corpus, num_workers=1).train_dataloader()
    rebuilt.load_state_dict(state)
    rebuilt.sampler.set_epoch(1)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(rebuilt, expected, strict=True))
    with pytest.raises(UserError, match="fingerprint"):
        module(Copying(**SIZES)).train_dataloader().load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AssociativeRecall(9, length=32), "take 36 tokens; length is 32"),
        (lambda: AssociativeRecall(8, vocab_size=17), "has 7 keys for 8 pairs; give 18 at least"),
        (lambda: AssociativeRecall(0), "pairs must be at least 1"),
        (lambda: AssociativeRecall(1, length=5), "length must be even"),
        (lambda: Copying(length=1), "length must be at least 2"),
        (lambda: Copying(vocab_size=1), "vocab_size must be at least 2"),
        (lambda: Induction(vocab_size=0), "vocab_size must be at least 1"),
        (lambda: Induction(val_examples=0), "val_examples must be at least 1"),
        (lambda: SyntheticDataModule(Copying(), val_split="train"), "known are val, selection"),
        (lambda: SyntheticDataModule(Copying(), 63), "max_tokens=63 is smaller than a sequence of"),
        (lambda: SyntheticDataModule(Copying(), 64, 63), "eval_max_tokens=63 is smaller than"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    """Catches a draw without end, or a traceback, where pairs are more than there is room for."""
    with pytest.raises(UserError, match=message):
        make()
    AssociativeRecall(8, length=32, vocab_size=18)
