"""Sentences with words, tags, heads and relations from a treebank in CoNLL-U.

The format of Universal Dependencies (https://universaldependencies.org/format.html): a line per
word, ten columns with tabs between them, an empty line after each sentence, ``#`` before comments,
one of which is the text as it is written. Multiword tokens (``1-2``) and empty nodes (``1.1``) are
no words of the tree and are skipped.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from qvbench.errors import UserError
from qvbench.inside.words import Sentence

_COLUMNS = 10
_SKIPPED = re.compile(r"[1-9]\d*-[1-9]\d*|\d+\.[1-9]\d*")
_TEXT = re.compile(r"#\s*text\s*=\s*(.*)")


def read(path: Path) -> Iterator[Sentence]:
    """The sentences of a ``.conllu`` file, or of one compressed to ``.gz``.

    Raises:
        UserError: the file cannot be read, or a line is malformed: columns missing, words out of
            order, a head that is no word of the sentence.
    """
    rows: list[tuple[int, list[str]]] = []
    text = ""
    for number, line in enumerate(chain(_lines(path), [""]), 1):
        if line.startswith("#"):
            found = _TEXT.fullmatch(line)
            text = found[1] if found else text
        elif line:
            columns = line.split("\t")
            if not _SKIPPED.fullmatch(columns[0]):
                rows.append((number, columns))
        elif rows:
            for word, (place, columns) in enumerate(rows, 1):
                if fault := _fault(columns, word, len(rows)):
                    raise UserError(f"{path}, line {place}: {fault}")
            _, words, _, tags, _, _, heads, relations = zip(*(c[:8] for _, c in rows), strict=True)
            yield Sentence(words, tags, tuple(map(int, heads)), relations, text)
            rows, text = [], ""


def _lines(path: Path) -> Iterator[str]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no UTF-8 text ({error.reason}); convert it") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _fault(columns: list[str], word: int, words: int) -> str | None:
    """What is wrong with the line of a word."""
    if len(columns) != _COLUMNS:
        return f"{len(columns)} columns with tabs between them; CoNLL-U has {_COLUMNS}"
    identifier, form, head = columns[0], columns[1], columns[6]
    if identifier != str(word):
        return f"word {identifier!r} where word {word} should stand"
    if not form:
        return "a word without a form"
    if not re.fullmatch(r"\d{1,9}", head, re.ASCII) or int(head) > words or int(head) == word:
        wrong = f"the head of word {word} is {head}"
        return f"{wrong}; give the number of another of {words} words, 0 for the root"
    return None
