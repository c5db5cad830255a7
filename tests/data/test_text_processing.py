"""Words out of lines, and plain text out of words."""

from __future__ import annotations

import pytest

from qvbench.data.text_processing import TextProcessor

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
