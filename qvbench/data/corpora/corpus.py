"""What every corpus of sentence pairs provides; the data module knows no more of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from qvbench.errors import UserError


class NotFetchedError(UserError):
    """The text has never been here, and nothing is published that names it."""


class Corpus(ABC):
    """Pairs of sentences that translate each other, in splits.

    A corpus yields text, one sentence per line; subwords, ids and batches are made elsewhere.

    Attributes:
        tokenized: the text is whitespace-separated tokens already (as Moses writes them); where
            it is not, the text is raw, and is normalized, tokenized and detokenized around the
            model.
        source_language: two-letter code of the source side, for the tokenizer.
        target_language: two-letter code of the target side.
    """

    tokenized: bool = True
    source_language: str = "en"
    target_language: str = "de"

    @abstractmethod
    def prepare(self) -> None:
        """Fetch, verify or generate whatever :meth:`pairs` needs; doing it twice costs nothing.

        Raises:
            UserError: a file is missing, damaged, or cannot be fetched.
        """

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: ``train``, ``val`` and one test set at least, the default first."""

    @abstractmethod
    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        """The (source, target) lines of a split, in file order, without line ends.

        Lines of ``train`` may be empty in a corpus that was crawled, and only there: such pairs
        are dropped and counted when the corpus is stored.

        Raises:
            UserError: naming file and line, for a line that is not UTF-8, or empty where none
                may be, for unequal numbers of lines, and for a file that is missing or damaged;
                or there is no such split.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, object]:
        """What determines the text, as JSON values: name, settings, SHA-256 of the sources.

        Equal fingerprints mean equal text: stored token ids are found by it.

        Raises:
            NotFetchedError: it cannot be known before :meth:`prepare` has fetched the text.
        """

    def plan(self) -> list[str]:
        """What :meth:`prepare` would do, one line per step; nothing is fetched or written."""
        return []

    def check_split(self, split: str) -> None:
        """Raises :class:`UserError` if there is no such split."""
        if split not in self.splits():
            known = ", ".join(self.splits())
            raise UserError(f"{type(self).__name__}: unknown split {split!r}; known are {known}")
