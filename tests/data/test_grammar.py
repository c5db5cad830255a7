"""The grammar corpus: the same text for the same seed, and sound annotation."""

from __future__ import annotations

import hashlib
from itertools import islice

import pytest

from qvbench.data.corpora import grammar
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.corpora.grammar import AnnotatedPair, Grammar, split_of
from qvbench.data.corpora.grammar.lexicon import ADJECTIVES, NOUNS, VERBS
from qvbench.errors import UserError

UNIVERSAL = {
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN"),
    *("PUNCT", "SCONJ", "SYM", "VERB", "X"),
}
CONTENT = frozenset(("NOUN", "PROPN", "VERB", "ADJ", "NUM", "ADV"))


@pytest.fixture(scope="module")
def pairs() -> list[AnnotatedPair]:
    return list(Grammar(train_pairs=4000).annotated("train"))


def test_it_is_a_corpus_of_tokenized_text() -> None:
    """Catches a corpus that the data module would tokenize a second time."""
    corpus = Grammar(5, 3, 2)
    corpus.prepare()
    assert isinstance(corpus, Corpus)
    assert corpus.tokenized
    assert corpus.splits() == ("train", "val", "test")
    assert [len(list(corpus.pairs(split))) for split in corpus.splits()] == [5, 3, 2]
    for (source, target), pair in zip(corpus.pairs("val"), corpus.annotated("val"), strict=True):
        assert source == " ".join(pair.source.tokens)
        assert target == " ".join(pair.target.tokens)


def test_a_selection_split_leaves_the_others_as_they_are() -> None:
    """Catches settings chosen on sentences that train, score or test them."""
    plain, more = Grammar(500, 60, 60), Grammar(500, 60, 60, selection_pairs=60)
    assert more.splits() == (*plain.splits(), "selection")
    for split in plain.splits():
        assert list(plain.pairs(split)) == list(more.pairs(split))
    texts = {split: {source for source, _ in more.pairs(split)} for split in more.splits()}
    chosen_on = texts.pop("selection")
    assert len(chosen_on) == 60
    assert all(chosen_on.isdisjoint(others) for others in texts.values())
    assert plain.fingerprint() == Grammar(500, 60, 60).fingerprint() != more.fingerprint()


def test_the_lexicon_is_large_and_has_every_class() -> None:
    """Catches a list lost in an edit, or a line that is read as something else."""
    assert (len(NOUNS), len(VERBS), len(ADJECTIVES)) >= (200, 130, 60)
    assert {noun.gender for noun in NOUNS} == {0, 1, 2}
    assert sum(bool(verb.prefix) for verb in VERBS) >= 15
    assert sum(verb.sein for verb in VERBS) >= 10
    assert sum(verb.reflexive for verb in VERBS) >= 8


def test_one_english_noun_has_one_german_one() -> None:
    """Catches a second translation of a word that nothing in the sentence tells apart."""
    english = [form for noun in NOUNS for form in noun.english]
    assert len(english) == len(set(english))


def test_another_seed_is_another_text() -> None:
    """Catches a seed that is not passed on."""
    first = list(Grammar(300, seed=3).annotated("train"))
    assert first != list(Grammar(300, seed=4).annotated("train"))


def test_golden() -> None:
    """Catches text or annotation that changes while the version, hence every cache, does not.

    A change that is meant: raise ``VERSION`` in ``grammar/__init__.py`` and replace the values.
    """
    corpus = Grammar(3000, 100, 100)
    digest = hashlib.sha256()
    for split in corpus.splits():
        for pair in corpus.annotated(split):
            entry = (split, tuple(pair.source), tuple(pair.target), pair.alignment)
            digest.update(repr(entry).encode())
    assert next(corpus.pairs("train")) == (
        "she lies on her mountain .",
        "sie liegt auf ihrem Berg .",
    )
    assert (corpus.fingerprint()["version"], digest.hexdigest()[:16]) == (2, "b37d6765cb50e018")


def test_the_example_of_the_docstring_is_what_is_generated() -> None:
    """Catches a drawn example that the grammar, its tags, heads or links have left behind."""
    tables = [line.split() for line in grammar.__doc__.splitlines() if line.startswith("    ")]
    *sides, links = tables
    pairs = Grammar(100).annotated("train")
    pair = next(pair for pair in pairs if list(pair.source.tokens) == sides[0])
    drawn = [[str(cell) for cell in row] for side in (pair.source, pair.target) for row in side]
    assert drawn == sides
    assert [f"{source}-{target}" for source, target in pair.alignment] == links


def test_a_larger_split_begins_with_the_smaller_one() -> None:
    """Catches a size that leaks into what is drawn: learning curves over size mix two things."""
    small = list(Grammar(100, seed=1).pairs("train"))
    assert list(islice(Grammar(400, 10, 10, seed=1).pairs("train"), 100)) == small


def test_splits_share_no_sentence() -> None:
    """Catches held-out accuracy measured on sentences from training, under any seed."""
    text = {
        (split, seed): {source for source, _ in Grammar(1500, 60, 60, seed).pairs(split)}
        for split in ("train", "val", "test")
        for seed in (0, 1)
    }
    for (split, _), sources in text.items():
        assert {split_of(source) for source in sources} == {split}
    assert not text["train", 0] & text["val", 1]
    assert len(text["val", 0]) == len(text["test", 0]) == 60


def test_sentences_vary(pairs: list[AnnotatedPair]) -> None:
    """Catches a generator that says few things, or only short ones."""
    assert len({pair.source.text for pair in pairs}) > 0.97 * len(pairs)
    lengths = sorted(len(pair.target.tokens) for pair in pairs)
    assert lengths[0] >= 3
    assert lengths[-1] >= 25
    assert 9 < sum(lengths) / len(lengths) < 14
    crossing = sum(
        (targets := [target for _, target in pair.alignment]) != sorted(targets) for pair in pairs
    )
    assert crossing > 0.4 * len(pairs)


def test_heads_form_a_tree(pairs: list[AnnotatedPair]) -> None:
    """Catches a phrase that was never attached, attached to itself, or to a word left out."""
    for pair in pairs:
        for side in (pair.source, pair.target):
            assert len(side.tokens) == len(side.pos) == len(side.heads)
            assert side.heads.count(-1) == 1, side
            assert set(side.pos) <= UNIVERSAL
            for start in range(len(side.tokens)):
                node, steps = start, 0
                while node != -1:
                    node, steps = side.heads[node], steps + 1
                    assert steps <= len(side.tokens), side


def test_content_words_are_aligned(pairs: list[AnnotatedPair]) -> None:
    """Catches a word translated without its link, or a link to a word that was dropped."""
    for pair in pairs:
        sources = {source for source, _ in pair.alignment}
        targets = {target for _, target in pair.alignment}
        assert sources <= set(range(len(pair.source.tokens)))
        assert targets <= set(range(len(pair.target.tokens)))
        assert len(set(pair.alignment)) == len(pair.alignment)
        for side, linked in ((pair.source, sources), (pair.target, targets)):
            content = {i for i, tag in enumerate(side.pos) if tag in CONTENT}
            assert content <= linked, (side.text, pair)


def test_aligned_nouns_and_verbs_agree_in_class(pairs: list[AnnotatedPair]) -> None:
    """Catches links that slip by one word."""
    for pair in pairs:
        for source, target in pair.alignment:
            tags = {pair.source.pos[source], pair.target.pos[target]}
            if "PROPN" in tags and pair.source.tokens[source][-3:] != "day":
                assert tags <= {"PROPN", "PART"}, pair


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"train_pairs": 0}, "train_pairs"),
        ({"val_pairs": -1}, "val_pairs"),
        ({"test_pairs": 1.5}, "test_pairs"),
        ({"train_pairs": True}, "train_pairs"),
        ({"seed": -1}, "seed"),
        ({"seed": "0"}, "seed"),
    ],
)
def test_bad_settings_are_named(settings: dict, named: str) -> None:
    """Catches a bad setting that ends in a traceback, or in an empty corpus."""
    with pytest.raises(UserError, match=named):
        Grammar(**settings)


def test_the_fingerprint_names_what_determines_the_text() -> None:
    """Catches two corpora with different text that share one cache."""
    prints = [Grammar(seed=0), Grammar(seed=1), Grammar(100), Grammar(val_pairs=9)]
    assert len({repr(corpus.fingerprint()) for corpus in prints}) == 4
