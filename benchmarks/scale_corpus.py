"""Text like WMT17's in size and in its words, made of the built-in grammar.

Lines are made of whole sentences of the grammar, about 29 words a side as in WMT17. Since the
grammar's lexicon is small, some words in a hundred are exchanged for made-up ones that follow
Zipf's law, as names, numbers and compounds do: the vocabulary is learned from words, and what it
costs depends on how many different ones there are. Everything is a function of the seed.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEAN_WORDS = 29.0  # a side
RARE_SHARE = 0.03
RARE_TYPES = 20_000_000
SYLLABLES = [a + b for a in "bdfghklmnprstvwz" for b in "aeio"]


def lines(pool: list[tuple[str, str]], pairs: int, seed: int) -> Iterator[tuple[str, str]]:
    """Lines of several sentences each, with rare words among their words."""
    draw = random.Random(seed)
    for _ in range(pairs):
        # Exponential lengths, as a corpus of sentences and paragraphs has many short lines.
        wanted = 4.0 + draw.expovariate(1 / (MEAN_WORDS - 9.0))
        source, target = [], []
        length = 0
        while length < wanted:
            one, other = pool[int(draw.random() * len(pool))]
            source.append(one)
            target.append(other)
            length += one.count(" ") + 1
        yield with_rare_words(" ".join(source), draw), with_rare_words(" ".join(target), draw)


def with_rare_words(line: str, draw: random.Random) -> str:
    """A line in which some words are others, rare ones."""
    words = line.split(" ")
    expected = RARE_SHARE * len(words)
    for _ in range(int(expected) + (draw.random() < expected % 1)):
        words[int(draw.random() * len(words))] = rare_word(int(RARE_TYPES ** draw.random()))
    return " ".join(words)


def rare_word(rank: int) -> str:
    """A pronounceable word for every rank."""
    rank += len(SYLLABLES)  # two syllables at least
    word = ""
    while rank:
        rank, digit = divmod(rank, len(SYLLABLES))
        word += SYLLABLES[digit]
    return word


def write_pairs(folder: Path, stem: str, end: str, pairs: Iterator[tuple[str, str]]) -> list[int]:
    """Write two files; returns their numbers of words."""
    words = [0, 0]
    opener = gzip.open if end else open
    options: dict[str, Any] = {"compresslevel": 1} if end else {}
    paths = [folder / f"{stem}.{language}{end}" for language in ("en", "de")]
    with (
        opener(paths[0], "wt", encoding="utf-8", newline="\n", **options) as source,
        opener(paths[1], "wt", encoding="utf-8", newline="\n", **options) as target,
    ):
        for pair in pairs:
            for side, (file, line) in enumerate(zip((source, target), pair, strict=True)):
                file.write(f"{line}\n")
                words[side] += line.count(" ") + 1
    return words
