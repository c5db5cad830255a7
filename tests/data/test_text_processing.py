"""Words out of lines, and plain text out of words."""

from __future__ import annotations

import pytest

from qvbench.data.text_processing import TextProcessor

RAW = TextProcessor("en", "de", tokenised=False)
TOKENISED = TextProcessor("en", "de", tokenised=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Two men, in hats.", "Two men , in hats ."),
        ("It's a dog's life & more", "It 's a dog 's life & more"),
        ("“Quoted” text…", '" Quoted " text ...'),
        ("a\u00a0b\u2028c  d", "a b c d"),
    ],
)
def test_raw_source_is_normalised_and_tokenised_without_escapes(line: str, words: str) -> None:
    """Catches &apos; and &quot;, which a reader of the output would see."""
    assert RAW.source(line) == words


def test_sides_have_their_own_language() -> None:
    """Catches one tokeniser for both: an English clitic is split in English only."""
    assert RAW.source("the dog's l'eau") == "the dog 's l 'eau"
    assert TextProcessor("fr", "de", tokenised=False).source("l'eau") == "l' eau"


@pytest.mark.parametrize(
    "line",
    ["Zwei Männer, die Hüte tragen.", "Ein Hund (braun) läuft: schnell!", "Wer ist das?"],
)
def test_detokenising_undoes_tokenising(line: str) -> None:
    assert RAW.detokenise(RAW.target(line)) == line


def test_tokenised_lines_pass_as_they_are() -> None:
    """Catches tokenising twice, which would split Moses's escapes."""
    line = "it &apos;s a well @-@ known thing ."
    assert TOKENISED.source(line) == TOKENISED.target(line) == line
    assert TOKENISED.versions() == {}
    assert "sacremoses" in RAW.versions()


def test_references_for_plain_scores_are_plain() -> None:
    """Catches a detokenised BLEU against tokenised references, escapes and all."""
    assert TOKENISED.plain_reference("das ist &quot; gut &quot; .") == 'das ist "gut".'
    assert RAW.plain_reference("Das ist „gut“.") == "Das ist „gut“."
    lower = TextProcessor("en", "de", tokenised=False, lowercase=True)
    assert lower.plain_reference("Über Gut.") == "über gut."
    assert lower.target("Über Gut.") == "über gut ."
