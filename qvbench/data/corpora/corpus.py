"""What every corpus provides, of text or of pairs; and the plainest of pairs: your own files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from qvbench.data.cache import expanded
from qvbench.data.corpora.files import file_sha256, read_pairs
from qvbench.errors import UserError


class MonolingualCorpus(ABC):
    """Text in splits. A corpus yields text; ids and batches are made elsewhere."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to fetch
        """Fetch, verify or generate whatever :meth:`text` needs; doing it twice costs nothing.
        Nothing to do where :meth:`fingerprint` finds it all.

        Raises:
            UserError: a file is missing, damaged, or cannot be fetched.
        """

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: ``train``, ``val``, and test sets where it has some, the default
        first. A corpus of pairs has one at least."""

    @abstractmethod
    def text(self, split: str) -> Iterator[str]:
        """The text of a split as it stands, document by document.

        Raises:
            UserError: naming the file, for what is missing, damaged, or no UTF-8.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, object]:
        """What determines the text, as JSON values: name, settings, SHA-256 of the sources.

        Equal fingerprints mean equal text: stored token ids are found by it.

        Raises:
            NotFetchedError: it cannot be known before :meth:`prepare` has fetched the text.
        """


class Corpus(MonolingualCorpus):
    """Pairs of sentences that translate each other, one per line, in splits.

    Where it is not ``tokenized`` (whitespace-separated tokens, as Moses writes them), the text is
    raw, and is normalized, tokenized and detokenized around the model.
    """

    tokenized: bool = True
    source_language: str = "en"  # two-letter codes, for the tokenizer
    target_language: str = "de"

    @abstractmethod
    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        """The (source, target) lines of a split, in file order, without line ends.

        Lines of ``train`` may be empty in a corpus that was crawled, and only there: such pairs
        are dropped and counted when the corpus is stored.

        Raises:
            UserError: naming file and line, for a line that is not UTF-8, or empty where none
                may be, for unequal numbers of lines, and for a file that is missing or damaged.
        """

    def text(self, split: str) -> Iterator[str]:
        """The source side, a sentence per line."""
        return (f"{source}\n" for source, _ in self.pairs(split))


class Text(Corpus):
    """Any pairs of line-aligned UTF-8 files, plain or gzipped (by the name's ``.gz``).

    Args:
        train: source and target file of the training text.
        val: source and target file of the validation text.
        test: source and target file of every test set, by the set's name; the first is the
            default.
        tokenized: the files hold whitespace-separated tokens already; otherwise they are raw
            text, normalized and tokenized by sacremoses.
        source_language: two-letter code, for sacremoses.
        target_language: two-letter code, for sacremoses.
    """

    def __init__(
        self,
        train: tuple[str, str],
        val: tuple[str, str],
        test: dict[str, tuple[str, str]],
        tokenized: bool = False,
        source_language: str = "en",
        target_language: str = "de",
    ) -> None:
        if not test:
            raise UserError("Text: test is empty; name at least one test set")
        for name in test:
            if name in ("train", "val") or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
                raise UserError(
                    f"Text: {name!r} cannot name a test set; use letters, digits and _ . - "
                    "and neither train nor val"
                )
        self.tokenized = tokenized
        self.source_language = source_language
        self.target_language = target_language
        self.files = {
            split: (expanded(source), expanded(target))
            for split, (source, target) in {"train": train, "val": val, **test}.items()
        }

    def splits(self) -> tuple[str, ...]:
        return tuple(self.files)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return read_pairs(*self.files[split])

    def fingerprint(self) -> dict[str, object]:
        return {
            "corpus": "text",
            "tokenised": self.tokenized,  # the key of stored fingerprints
            "languages": [self.source_language, self.target_language],
            # Of the files as they lie on the disk; without paths: a moved file is the same.
            "sha256": {name: [*map(file_sha256, pair)] for name, pair in self.files.items()},
        }
