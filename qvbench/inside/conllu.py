"""Sentences with words, tags, heads and relations from a treebank in CoNLL-U.

The format of Universal Dependencies (https://universaldependencies.org/format.html): a line per
word, ten columns with tabs between them, an empty line after each sentence, ``#`` before comments,
one of which is the text as it is written.
Multiword tokens (``1-2``) and empty nodes (``1.1``) are no words of the tree and are skipped.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from qvbench.errors import UserError
from qvbench.inside.words import Sentence

_COLUMNS = 10
_SKIPPED = re.compile(r"[1-9]\d*-[1-9]\d*|\d+\.[1-9]\d*")


class _Row(NamedTuple):
    """A word and the number of its line."""

    line: int
    word: str
    tag: str
    head: int
    relation: str


def read(path: Path) -> Iterator[Sentence]:
    """The sentences of a ``.conllu`` file, or of one compressed to ``.gz``.

    Raises:
        UserError: the file cannot be read, or a line is malformed: columns missing, words out of
            order, a head that is no word of the sentence.
    """
    rows: list[_Row] = []
    number, written = 0, ""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\r\n")
                if text.startswith("#"):
                    comment, _, value = text[1:].partition("=")
                    written = value.strip() if comment.strip() == "text" else written
                elif text:
                    rows += _word(path, number, text, len(rows) + 1)
                elif rows:
                    yield _sentence(path, rows, written)
                    rows, written = [], ""
    except UnicodeDecodeError:
        _malformed(path, number + 1, "no UTF-8 text")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    if rows:
        yield _sentence(path, rows, written)


def _word(path: Path, line: int, text: str, expected: int) -> list[_Row]:
    """The word of a line, if it has one."""
    columns = text.split("\t")
    if len(columns) != _COLUMNS:
        found = f"{len(columns)} columns with tabs between them"
        _malformed(path, line, f"{found}; CoNLL-U has {_COLUMNS}")
    identifier, word, _, tag, _, _, head, relation = columns[:8]
    if _SKIPPED.fullmatch(identifier):
        return []
    if identifier != str(expected):
        _malformed(path, line, f"word {identifier!r} where word {expected} should stand")
    if not word:
        _malformed(path, line, "a word without a form")
    if not re.fullmatch(r"\d+", head, re.ASCII):
        _malformed(path, line, f"the head is {head!r}; give the number of a word, 0 for the root")
    return [_Row(line, word, tag, int(head), relation)]


def _sentence(path: Path, rows: list[_Row], text: str) -> Sentence:
    for number, row in enumerate(rows, 1):
        if row.head > len(rows) or row.head == number:
            wrong = f"the head of word {number} is {row.head}"
            _malformed(path, row.line, f"{wrong}; the sentence has {len(rows)} words")
    _, words, tags, heads, relations = zip(*rows, strict=True)
    return Sentence(words, tags, heads, relations, text)


def _malformed(path: Path, line: int, what: str) -> NoReturn:
    raise UserError(f"{path}, line {line}: {what}")
