"""Words: what a vocabulary learns from them, and their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from qvbench.data.vocabulary import Vocabulary

_WORDS_KEPT = 1_000_000  # whose ids are remembered: 100 to 200 MB


class WordCounts(NamedTuple):
    """How many words a text has, and which are too rare to learn from.

    Attributes:
        different: number of different words.
        below: words that occur less often than this are left out; 1 leaves out none.
        left_out: these words.
    """

    different: int
    below: int
    left_out: frozenset[str]

    @classmethod
    def of(cls, lines: Iterable[str], most: int) -> WordCounts:
        """Count the words of lines, and leave out the rarest until at most ``most`` remain.

        Learning merges takes about a kilobyte of memory for every different word, and half of
        the words of a crawl occur once: numbers, names, misspellings.

        Args:
            lines: of words with single spaces between them.
            most: different words that may remain.
        """
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split(" "))
        times = Counter(counts.values())
        below, remaining = 1, len(counts)
        while remaining > most:
            remaining -= times[below]
            below += 1
        rare = frozenset(word for word, count in counts.items() if count < below)
        return cls(len(counts), below, rare)

    def frequent(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines without the words that are left out."""
        if not self.left_out:
            yield from lines
            return
        for line in lines:
            yield " ".join(word for word in line.split(" ") if word not in self.left_out)


class WordIds(dict[str, bytes]):
    """The ids of words as bytes, each word encoded once.

    No merge crosses a space, so a line's ids are its words' ids one after the other: looking
    words up is several times faster than encoding lines.

    Args:
        vocabulary: that encodes the words.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self.dtype = np.dtype(np.uint16 if len(vocabulary) <= 1 << 16 else np.uint32)

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self._vocabulary.encode(word), dtype=self.dtype).tobytes()
        self[word] = ids
        return ids

    def of(self, line: str) -> bytes:
        """Ids of a line of words with single spaces between them."""
        return b"".join(map(self.__getitem__, line.split(" "))) if line else b""

    def forget_many(self) -> None:
        """Start anew where too many words are remembered: a crawl never ends to bring new ones."""
        if len(self) > _WORDS_KEPT:
            self.clear()
