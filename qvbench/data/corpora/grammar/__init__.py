"""A built-in English-German corpus, generated from a hand-written lexicon and grammar.

``lexicon.txt`` holds the words; :mod:`.lexicon` inflects them, :mod:`.phrases` and :mod:`.clauses`
draw what is said, :mod:`.word_order` says it in both languages, :mod:`.sentences` joins clauses.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from qvbench.data.corpora.corpus import Corpus
from qvbench.data.corpora.grammar.phrases import Draw
from qvbench.data.corpora.grammar.sentences import sentence
from qvbench.data.corpora.grammar.syntax import AnnotatedPair, Side
from qvbench.errors import UserError

__all__ = ["AnnotatedPair", "Grammar", "Side", "split_of"]

# Raised whenever the same seed gives other text than before; a golden test notices.
VERSION = 2
# A sentence belongs to one split for good, whatever seed and size: by a hash of its English text.
BUCKETS = 16
VAL_BUCKET, TEST_BUCKET = 0, 1


def split_of(source: str) -> str:
    """The only split in which this English sentence may stand."""
    bucket = crc32(source.encode()) % BUCKETS
    return {VAL_BUCKET: "val", TEST_BUCKET: "test"}.get(bucket, "train")


class Grammar(Corpus):
    """English sentences with their German translation from a hand-written grammar and lexicon.

    Text is tokenized; only names, German nouns and "I" have capitals. A larger split starts with
    the smaller one; no sentence of one split occurs in another, not even under another seed.

    Args:
        train_pairs: pairs in ``train``.
        val_pairs: pairs in ``val``, all different.
        test_pairs: pairs in ``test``, all different.
        seed: what the sentences are drawn from.

    Raises:
        UserError: a size is no positive integer, or the seed is no integer from 0.
    """

    tokenized = True

    def __init__(
        self, train_pairs: int = 20000, val_pairs: int = 1000, test_pairs: int = 1000, seed: int = 0
    ) -> None:
        self.sizes = {"train": train_pairs, "val": val_pairs, "test": test_pairs}
        for split, size in self.sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise UserError(
                    f"grammar corpus: {split}_pairs is {size!r}; give a whole number from 1"
                )
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"grammar corpus: seed is {seed!r}; give a whole number from 0")
        self.seed = seed

    def prepare(self) -> None:
        """Nothing to fetch: sentences are made when they are asked for."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def annotated(self, split: str) -> Iterator[AnnotatedPair]:
        """The pairs of a split with parts of speech, heads and word alignment.

        Raises:
            UserError: there is no such split.
        """
        self.check_split(split)
        return self._draw(split)

    def _draw(self, split: str) -> Iterator[AnnotatedPair]:
        draw = Draw(f"{self.seed}/{split}")
        left = self.sizes[split]
        seen: set[str] = set()
        while left:
            pair = sentence(draw)
            source = pair.source.text
            if split_of(source) != split or source in seen:
                continue
            if split != "train":  # a small set is the better for having nothing twice
                seen.add(source)
            left -= 1
            yield pair

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return ((pair.source.text, pair.target.text) for pair in self.annotated(split))

    def fingerprint(self) -> dict[str, object]:
        return {"name": "grammar", "version": VERSION, "seed": self.seed, "pairs": dict(self.sizes)}
