"""A built-in English-German corpus with gold annotation, from a hand-written lexicon and grammar.

:meth:`Grammar.annotated` gives parts of speech, heads (-1 is the root) and word alignment::

    the  doctor  's    girl  has  congratulated  me    .
    DET  NOUN    PART  NOUN  AUX  VERB           PRON  PUNCT
    1    3       1     5     5    -1             5     5

    das  Mädchen  des  Arztes  hat  mir   gratuliert  .
    DET  NOUN     DET  NOUN    AUX  PRON  VERB        PUNCT
    1    6        3    1       6    6     -1          6
    0-2 1-3 2-3 3-1 4-4 5-6 6-5 7-7

``lexicon.txt`` holds the words, paradigms and how often what is said; :mod:`.lexicon` inflects
words, :mod:`.phrases` draws phrases and clauses, :mod:`.sentences` sentences, and :mod:`.syntax`
puts them in order in both languages.
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


def split_of(source: str) -> str:
    """The only split in which this English sentence may stand, whatever seed and sizes."""
    return {0: "val", 1: "test"}.get(crc32(source.encode()) % 16, "train")


class Grammar(Corpus):
    """English sentences with their German translation from a hand-written grammar and lexicon.

    Text is tokenized; only names, German nouns and "I" have capitals. A larger split starts with
    the smaller one; no sentence of one split occurs in another, not even under another seed.

    Args:
        train_pairs: pairs in ``train``.
        val_pairs: pairs in ``val``, all different.
        test_pairs: pairs in ``test``, all different.
        seed: what the sentences are drawn from.
        selection_pairs: pairs in ``selection``, all different and none of them in ``val``: to
            choose settings on. None for no such split; the other splits are the same either way.

    Raises:
        UserError: a size is no positive integer, or the seed is no integer from 0.
    """

    tokenized = True

    def __init__(
        self,
        train_pairs: int = 20000,
        val_pairs: int = 1000,
        test_pairs: int = 1000,
        seed: int = 0,
        selection_pairs: int | None = None,
    ) -> None:
        self.sizes = {"train": train_pairs, "val": val_pairs, "test": test_pairs}
        self.sizes |= {} if selection_pairs is None else {"selection": selection_pairs}
        whole = {f"{split}_pairs": (size, 1) for split, size in self.sizes.items()}
        for name, (value, least) in (whole | {"seed": (seed, 0)}).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(
                    f"grammar corpus: {name} is {value!r}; give a whole number from {least}"
                )
        self.seed = seed

    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def annotated(self, split: str) -> Iterator[AnnotatedPair]:
        """The pairs of a split with parts of speech, heads and word alignment."""
        draw = Draw(f"{self.seed}/{split}")
        left, seen, home = self.sizes[split], set[str](), split
        if split == "selection":  # sentences that might be in val, and are not
            home, seen = "val", {pair.source.text for pair in self.annotated("val")}
        while left:
            pair = sentence(draw)
            source = pair.source.text
            if split_of(source) == home and source not in seen:
                if split != "train":  # a small set is the better for having nothing twice
                    seen.add(source)
                left -= 1
                yield pair

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return ((pair.source.text, pair.target.text) for pair in self.annotated(split))

    def fingerprint(self) -> dict[str, object]:
        return {"name": "grammar", "version": VERSION, "seed": self.seed, "pairs": dict(self.sizes)}
