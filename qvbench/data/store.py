"""Token ids on disk: written once, found by their fingerprint, read through memory maps.

A store is one folder::

    tokenizer.json                    the vocabulary
    <split>.source.npy                ids of all source sentences, one after the other (uint16/32)
    <split>.source.offsets.npy        int64 (pairs + 1,): sentence n is ids[offsets[n]:offsets[n+1]]
    <split>.target.npy, <split>.target.offsets.npy
    <split>.lines.npy                 int64 (pairs,): line number in the split, from 0
    <split>.source.txt, <split>.target.txt    the corpus's lines, of all splits but train
    manifest.json                     what it was made from, counts, what was dropped and why

A folder that has its name is whole: see :mod:`qvbench.data.storing`, which writes it. Opening one
compares the sizes of its files with the manifest, so that what a disk lost afterwards shows here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError

FORMAT = 2

Ids = npt.NDArray[np.integer[Any]]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """The sentences of one side of a split: ids one after the other, and where each begins."""

    ids: Ids
    offsets: Int64

    @property
    def lengths(self) -> Int64:
        """Subwords of every sentence (pairs,)."""
        return np.diff(self.offsets)


class StoredSplit:
    """The stored pairs of one split, memory-mapped.

    Args:
        folder: of the store.
        name: of the split.

    Attributes:
        source: source sentences, without special tokens.
        target: target sentences, without special tokens.
        lines: line number in the corpus's split of every pair, from 0.

    Raises:
        UserError: the store is damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.source = self._side("source")
        self.target = self._side("target")
        self.lines: Int64 = self._array("lines")

    def __len__(self) -> int:
        return len(self.lines)

    def __reduce__(self) -> tuple[type[StoredSplit], tuple[Path, str]]:
        """Worker processes map the files themselves: a pickled map would be a copy of it all."""
        return StoredSplit, (self.folder, self.name)

    def _side(self, side: str) -> Side:
        return Side(self._array(side), self._array(f"{side}.offsets"))

    def _array(self, suffix: str) -> npt.NDArray[Any]:
        path = self.folder / f"{self.name}.{suffix}.npy"
        array: npt.NDArray[Any] = _read(path, lambda path: np.load(path, mmap_mode="r"))
        return array


class Store:
    """A finished folder of token ids.

    Args:
        folder: where it lies.

    Raises:
        UserError: the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = _read(
            folder / "manifest.json", lambda path: json.loads(path.read_text(encoding="utf-8"))
        )
        for name, size in self.manifest.get("files", {}).items():
            _read(folder / name, partial(_check_size, size=size))
        self.vocabulary = Vocabulary.load(folder / "tokenizer.json")

    def split(self, name: str) -> StoredSplit:
        """The pairs of a split."""
        return StoredSplit(self.folder, name)

    def lines(self, split: str, side: Literal["source", "target"]) -> list[str]:
        """The lines of a validation or test set as the corpus has them."""
        text: str = _read(
            self.folder / f"{split}.{side}.txt", lambda path: path.read_bytes().decode("utf-8")
        )
        return text.removesuffix("\n").split("\n")


def _check_size(path: Path, size: int) -> None:
    if (found := path.stat().st_size) != size:
        raise ValueError(f"{found:,} bytes of {size:,}")


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, ValueError, EOFError) as fault:
        raise UserError(
            f"{path}: damaged ({fault}); remove the folder {path.parent}, it will be written anew"
        ) from None
