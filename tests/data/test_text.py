"""Text to ids and back: words as Moses makes them; a vocabulary that is reversible and safe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvbench.data.text import SPECIALS, TextProcessor, Vocabulary, check_vocabulary
from qvbench.errors import UserError
from tests.data.conftest import sentences

# Words

RAW = TextProcessor("en", "de", tokenized=False)
TOKENIZED = TextProcessor("en", "de", tokenized=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Two men, in hats.", "Two men , in hats ."),
        ("It's a dog's life & more", "It 's a dog 's life & more"),
        ("“Quoted” text…", '" Quoted " text ...'),
        ("a\u00a0b\u2028c  d", "a b c d"),
    ],
)
def test_raw_source_is_normalized_and_tokenized_without_escapes(line: str, words: str) -> None:
    """Catches &apos; and &quot;, which a reader of the output would see."""
    assert RAW.source(line) == words


def test_sides_have_their_own_language() -> None:
    """Catches one tokenizer for both: an English clitic is split in English only."""
    assert RAW.source("the dog's l'eau") == "the dog 's l 'eau"
    assert TextProcessor("fr", "de", tokenized=False).source("l'eau") == "l' eau"


@pytest.mark.parametrize(
    "line",
    ["Zwei Männer, die Hüte tragen.", "Ein Hund (braun) läuft: schnell!", "Wer ist das?"],
)
def test_detokenizing_undoes_tokenizing(line: str) -> None:
    """Catches output with spaces before commas, which costs BLEU."""
    assert RAW.detokenize(RAW.target(line)) == line


def test_tokenized_lines_pass_as_they_are() -> None:
    """Catches tokenizing twice, which would split Moses's escapes."""
    line = "it &apos;s a well @-@ known thing ."
    assert TOKENIZED.source(line) == TOKENIZED.target(line) == line
    assert TOKENIZED.versions() == {}
    assert "sacremoses" in RAW.versions()


def test_references_for_plain_scores_are_plain() -> None:
    """Catches a detokenized BLEU against tokenized references, escapes and all."""
    assert TOKENIZED.plain_reference("das ist &quot; gut &quot; .") == 'das ist "gut".'
    assert RAW.plain_reference("Das ist „gut“.") == "Das ist „gut“."
    lower = TextProcessor("en", "de", tokenized=False, lowercase=True)
    assert lower.plain_reference("Über Gut.") == "über gut."
    assert lower.target("Über Gut.") == "über gut ."


def test_the_state_in_checkpoints_of_every_version_is_read() -> None:
    """Catches a renamed key: checkpoints hold the settings by these four names."""
    state = {
        "source_language": "fr",
        "target_language": "de",
        "tokenised": True,
        "lowercase": True,
    }
    processor = TextProcessor.from_state(state)
    assert processor.tokenized
    assert processor.lowercase
    assert processor.state() == state


# Ids


# Tokens as corpora have them: Moses escapes, dashes, umlauts, "<" and pieces of special tokens.
ODD = "über größe it &apos;s a @-@ b <s> </s> <pad> <unused0> s> x_y … “ 漢字 ."
LINES = [*sentences(60, 0), *[ODD] * 3]
ALPHABET = set("".join(LINES))
WORD = st.text(st.sampled_from(sorted(ALPHABET - {" "})), min_size=1, max_size=8)


def trained(merges: int = 60) -> Vocabulary:
    return Vocabulary.train(LINES, merges, ALPHABET)


VOCABULARY = trained()


@given(st.lists(WORD, min_size=1, max_size=6).map(" ".join))
def test_decoding_gives_back_every_text_over_the_alphabet(text: str) -> None:
    """Catches lost spaces, lost characters, and words taken for special tokens."""
    ids = VOCABULARY.encode(text)
    assert VOCABULARY.decode(ids) == text
    assert min(ids) > max(VOCABULARY.pad, VOCABULARY.unk, VOCABULARY.bos, VOCABULARY.eos)


@pytest.mark.parametrize("special", [*SPECIALS, "<unused0>"])
def test_special_tokens_written_in_a_text_are_text(special: str) -> None:
    """Catches a caption that holds "</s>" and ends its sentence there, also after loading."""
    for form in ("{}", "a {} b", "a{}b", "{0}{0}"):
        text = form.format(special)
        made = Vocabulary.train([text] * 50, 100, set(text))
        for vocabulary in (made, Vocabulary.from_json(made.to_json())):
            assert min(vocabulary.encode(text)) > vocabulary.eos
            assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("special", SPECIALS)
def test_no_merges_ever_spell_a_special_token(special: str) -> None:
    """Catches a token that is learned from text where it is frequent and gets a special id."""
    lines = [f"{before}{special}{after}" for before in "12345678" for after in "12345678"]
    merges = len(special) - 1  # as many as would spell it, the most frequent pairs first
    vocabulary = Vocabulary.train(lines, merges, set("".join(lines)))
    for line in lines:
        assert min(vocabulary.encode(line)) > vocabulary.eos
        assert vocabulary.decode(vocabulary.encode(line)) == line


def test_the_word_mark_written_in_a_text_becomes_an_underscore() -> None:
    """Catches a mark in the text that is taken for a space."""
    text = "a\u2581b"
    vocabulary = Vocabulary.train([text] * 2, 5, set(text))
    assert vocabulary.decode(vocabulary.encode(text)) == "a_b"


def test_size_is_specials_alphabet_merges_and_a_multiple_of_eight() -> None:
    """Catches a `merges` that means the size of the vocabulary, and one that is not padded."""
    size = len(SPECIALS) + len(ALPHABET - {" "}) + 1 + 60
    assert len(VOCABULARY) == -(-size // 8) * 8
    content = json.loads(VOCABULARY.to_json())
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    ids |= content["model"]["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    assert tokens[:4] == list(SPECIALS)
    unused = [f"<unused{number}>" for number in range(len(VOCABULARY) - size)]
    assert tokens[size:] == unused
    assert len(set(tokens)) == len(tokens)


def test_a_pair_that_occurs_once_is_not_merged() -> None:
    """Catches a minimum frequency of one, which learns single words by heart."""
    vocabulary = Vocabulary.train(["ab cd", "ab"], 100, set("abcd "))
    assert len(vocabulary.encode("ab")) == 1
    assert len(vocabulary.encode("cd")) == 3


def test_training_is_deterministic_and_depends_on_merges() -> None:
    """Catches ties that are broken by the order of a hash table."""
    assert trained().to_json() == VOCABULARY.to_json()
    assert trained().fingerprint() == VOCABULARY.fingerprint()
    assert trained(61).fingerprint() != VOCABULARY.fingerprint()


def test_an_unknown_character_is_unknown_and_keeps_its_neighbors() -> None:
    """Catches a word lost for one character."""
    ids = VOCABULARY.encode("man Ω dog")
    assert ids.count(VOCABULARY.unk) == 1
    assert VOCABULARY.decode(ids) == "man dog"


def test_decoding_leaves_special_tokens_out() -> None:
    """Catches "</s>" in what users read."""
    ids = [VOCABULARY.bos, *VOCABULARY.encode("a man"), VOCABULARY.eos, VOCABULARY.pad]
    assert VOCABULARY.decode(ids) == "a man"


def test_encoding_a_batch_is_encoding_each() -> None:
    """Catches padding or truncation in the parallel path."""
    assert VOCABULARY.encode_batch(LINES) == [VOCABULARY.encode(line) for line in LINES]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    """Catches settings that the file does not keep."""
    (tmp_path / "tokenizer.json").write_text(VOCABULARY.to_json(), encoding="utf-8")
    loaded = Vocabulary.load(tmp_path / "tokenizer.json")
    assert loaded.fingerprint() == VOCABULARY.fingerprint()
    assert loaded.encode(ODD) == VOCABULARY.encode(ODD)
    assert len(loaded) == len(VOCABULARY)


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_a_file_that_is_no_vocabulary_is_named(tmp_path: Path, content: str | None) -> None:
    """Catches the bare Exception of the library."""
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Vocabulary.load(path)


def test_another_vocabulary_is_refused() -> None:
    """Catches a model whose ids stand for other words."""
    fingerprint = VOCABULARY.fingerprint()
    check_vocabulary(fingerprint, fingerprint, "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt.*another vocabulary"):
        check_vocabulary(fingerprint, trained(61).fingerprint(), "last.ckpt")
