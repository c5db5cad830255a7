"""WMT17 English-German as in the paper's recipe: statmt's preprocessed corpus, local copies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path

from qvbench.data.corpora.interface import Corpus
from qvbench.data.corpora.lines import file_sha256, read_pairs
from qvbench.errors import UserError

URL = "http://data.statmt.org/wmt17/translation-task/preprocessed/de-en/"

_FILES = {
    "train": ["corpus.tc"],
    "val": ["dev/newstest2014.tc", "dev/newstest2015.tc"],
    "newstest2016": ["dev/newstest2016.tc"],
}


class Wmt17(Corpus):
    """5.9 million pairs, Moses-tokenised and truecased; validation newstest2014 and 2015.

    Args:
        root: folder with ``corpus.tc.{en,de}`` (plain or ``.gz``) and what ``dev.tgz`` unpacks
            to, ``dev/newstest*.tc.{en,de}``.
    """

    tokenised = True

    def __init__(self, root: str = "data/wmt17") -> None:
        self.root = Path(root).expanduser()

    def prepare(self) -> None:
        """Make sure that the files are there; their lines are checked when they are read."""
        for split in _FILES:
            self._paths(split)

    def splits(self) -> tuple[str, ...]:
        return tuple(_FILES)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return chain.from_iterable(read_pairs(*pair) for pair in self._paths(split))

    def fingerprint(self) -> dict[str, object]:
        return {"corpus": "wmt17", "sha256": self._sha256}

    @cached_property
    def _sha256(self) -> dict[str, list[list[str]]]:
        return {
            split: [[file_sha256(path) for path in pair] for pair in self._paths(split)]
            for split in _FILES
        }

    def _paths(self, split: str) -> list[tuple[Path, Path]]:
        """Source and target file of each part of a split.

        Raises:
            UserError: a file is missing; says where it is published.
        """
        return [(self._path(stem, "en"), self._path(stem, "de")) for stem in _FILES[split]]

    def _path(self, stem: str, language: str) -> Path:
        plain = self.root / f"{stem}.{language}"
        zipped = plain.with_name(plain.name + ".gz")
        for path in (plain, zipped):
            if path.is_file():
                return path
        raise UserError(
            f"{plain}: no such file, nor {zipped.name}; fetch corpus.tc.{{en,de}}.gz and dev.tgz "
            f"from {URL}, unpack dev.tgz, and set data.corpus.init_args.root"
        )
