"""Pieces of words to words: the stated rule on maps made by hand."""

from __future__ import annotations

import pytest
import torch

from qvbench.data.language import TextVocabulary
from qvbench.data.text import Vocabulary
from qvbench.errors import UserError
from qvbench.inside.words import Sentence, pieces, within, word_map, word_vectors

LINES = ["the girl walks .", "a beautiful girl walks <now>"] * 9
WORDS = ("the", "beautiful", "girl", "walks", "<now>", ".")
SENTENCE = Sentence(WORDS, text="the beautiful girl walks <now>.")


def vocabularies():
    return (
        Vocabulary.train(LINES, 25, set("".join(LINES))),
        TextVocabulary.of_characters(LINES),
        TextVocabulary.of_merges(),
        TextVocabulary.of_merges(LINES, 290),
    )


@pytest.mark.parametrize("vocabulary", vocabularies())
def test_every_piece_belongs_to_the_word_that_it_spells(vocabulary):
    """Catches words shifted by one piece: marks of spaces, lone spaces, a piece of its own."""
    found = pieces(SENTENCE, vocabulary)
    assert found.words == WORDS
    assert found.shares.sum(1).tolist() == [1.0] * len(found.ids)
    spelled = [
        vocabulary.decode([i for i, own in zip(found.ids, found.shares[:, w], strict=True) if own])
        for w in range(len(WORDS))
    ]
    assert [text.strip() for text in spelled] == list(WORDS)


def test_special_tokens_are_words_of_their_own():
    """Catches a sentence's words mistaken for the tokens around them."""
    found = pieces(SENTENCE, vocabularies()[0], before=[("<s>", 2)], after=[("</s>", 3)])
    assert found.words == ("<s>", *WORDS, "</s>")
    assert found.words[found.own] == WORDS
    assert (found.ids[0], found.ids[-1]) == (2, 3)
    assert found.shares[0].tolist() == [1.0] + [0.0] * 7
    assert found.shares[-1].tolist() == [0.0] * 7 + [1.0]


def test_a_piece_of_two_words_is_shared_by_their_characters():
    """Catches a word that no piece is left for: its mean would be of nothing."""
    vocabulary = TextVocabulary.of_merges(["cannot"] * 9, 290)
    found = pieces(Sentence(("can", "not"), text="cannot"), vocabulary)
    assert found.shares.tolist() == [[0.5, 0.5]]


def test_a_text_that_does_not_hold_the_words_is_put_aside():
    """Catches contracted words ("im" of "in dem") that would stand nowhere."""
    sentence = Sentence(("in", "dem", "Haus"), text="im Haus")
    assert sentence.located() == ("in dem Haus", [(0, 2), (3, 6), (7, 11)])
    assert Sentence(("do", "n't"), text="don't").located() == ("don't", [(0, 2), (2, 5)])
    repeated = Sentence(("a", "ab", "b"), text="a abb").located()
    assert repeated == ("a abb", [(0, 1), (2, 4), (4, 5)])


def test_attention_to_a_word_is_a_sum_and_from_a_word_a_mean():
    """Catches the two exchanged, or a mean over all words' pieces."""
    vocabulary = TextVocabulary.of_characters(["ab"])
    found = pieces(Sentence(("ab", "b"), text="abb"), vocabulary, after=[("</s>", 9)])
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.4, 0.0], [0, 0, 1, 0], [0, 0, 0, 1]])
    words = word_map(p.double(), found, found)
    expected = torch.tensor([[0.45, 0.35, 0.2], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(words, expected, rtol=0, atol=1e-7)
    kept = torch.tensor([[0.5625, 0.4375], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(within(words, found, found), kept, rtol=0, atol=1e-7)
    only_special = torch.tensor([[0, 0, 1.0], [0, 1, 0], [0, 0, 1]])
    assert not within(only_special, found, found)[0].any()
    vectors = torch.tensor([[2.0], [4.0], [5.0], [7.0]])
    assert word_vectors(vectors, found).tolist() == [[3.0], [5.0], [7.0]]


def test_what_cannot_be_read_is_said():
    """Catches a map whose words are shifted because a character was left out."""
    for vocabulary in vocabularies()[:2]:
        with pytest.raises(UserError, match="does not know 'q', 'ü'; write it otherwise"):
            pieces(Sentence(("the", "üqü")), vocabulary)
    with pytest.raises(UserError, match="without words"):
        pieces(Sentence(()), vocabularies()[0])
