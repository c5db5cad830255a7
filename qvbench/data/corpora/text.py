"""Text of the user's own: pairs of line-aligned files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from qvbench.data.corpora.corpus import Corpus
from qvbench.data.corpora.files import file_sha256, read_pairs
from qvbench.errors import UserError


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
        self._files = {
            split: (Path(source).expanduser(), Path(target).expanduser())
            for split, (source, target) in {"train": train, "val": val, **test}.items()
        }

    def prepare(self) -> None:
        """Make sure that all files are there; their lines are checked when they are read."""
        for path in (path for pair in self._files.values() for path in pair):
            if not path.is_file():
                raise UserError(f"{path}: no such file; check the path in the corpus settings")

    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        self.check_split(split)
        return read_pairs(*self._files[split])

    def fingerprint(self) -> dict[str, object]:
        return {
            "corpus": "text",
            "tokenised": self.tokenized,  # the key of stored fingerprints
            "languages": [self.source_language, self.target_language],
            "sha256": self._sha256,
        }

    @cached_property
    def _sha256(self) -> dict[str, list[str]]:
        """Of the files as they lie on the disk; paths are left out, so a moved file is the same."""
        return {split: [file_sha256(path) for path in pair] for split, pair in self._files.items()}
