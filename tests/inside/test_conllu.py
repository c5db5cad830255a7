"""CoNLL-U by hand: what is a word, and the line that is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qvbench.errors import UserError
from qvbench.inside.conllu import read
from qvbench.inside.words import Sentence


def row(*columns: object) -> str:
    """id, form, tag, head, relation."""
    identifier, form, tag, head, relation = map(str, columns)
    return "\t".join([identifier, form, form, tag, "_", "_", head, relation, "_", "_"])


GOOD = "\n".join(
    [
        "# sent_id = 1",
        "# text = It's here",
        row("1-2", "It's", "_", "_", "_"),
        row(1, "It", "PRON", 3, "nsubj"),
        row(2, "'s", "AUX", 3, "cop"),
        row(3, "here", "ADV", 0, "root"),
        row("3.1", "elided", "VERB", "_", "_"),
        "",
        "",
        row(1, "Yes", "INTJ", 0, "root"),
    ]
)
SENTENCES = [
    Sentence(
        ("It", "'s", "here"),
        ("PRON", "AUX", "ADV"),
        (3, 3, 0),
        ("nsubj", "cop", "root"),
        "It's here",
    ),
    Sentence(("Yes",), ("INTJ",), (0,), ("root",)),
]


def test_words_of_the_tree_are_read(tmp_path: Path) -> None:
    """Catches multiword tokens and empty nodes as words, a last sentence lost that has no empty
    line after it, one sentence's text given to the next."""
    plain, packed = tmp_path / "a.conllu", tmp_path / "a.conllu.gz"
    plain.write_text(GOOD, encoding="utf-8")
    packed.write_bytes(gzip.compress(GOOD.replace("\n", "\r\n").encode()))
    assert list(read(plain)) == SENTENCES
    assert list(read(packed)) == SENTENCES


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("1\tYes", "2 columns"),
        (row(2, "Yes", "INTJ", 0, "root"), "where word 1"),
        (row("1-", "Yes", "INTJ", 0, "root"), "'1-'"),
        (row(1, "Yes", "INTJ", "_", "root"), "the head of word 1 is _"),
        (row(1, "Yes", "INTJ", "²", "root"), "head of word 1 is ²"),
        (row(1, "Yes", "INTJ", 7, "root"), "the head of word 1 is 7"),
        (row(1, "Yes", "INTJ", 1, "root"), "the head of word 1 is 1"),
        (row(1, "", "INTJ", 0, "root"), "without a form"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    """Catches a traceback, and a message without the line where an editor would go."""
    file = tmp_path / "bad.conllu"
    file.write_text(f"{GOOD}\n\n# comment\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"bad\.conllu, line 13: .*{word}"):
        list(read(file))


def test_files_that_are_none(tmp_path: Path) -> None:
    """Catches tracebacks of files that are absent, damaged, or in another encoding."""
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(GOOD.encode() * 99)[:-20])
    latin = tmp_path / "latin.conllu"
    latin.write_bytes(row(1, "né", "ADJ", 0, "root").encode("latin-1"))
    for file in (tmp_path / "none.conllu", tmp_path, packed, latin):
        with pytest.raises(UserError, match=file.name):
            list(read(file))
