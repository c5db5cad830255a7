"""Token ids on disk: written once, found by their fingerprint, read through memory maps.

A store is one folder::

    tokenizer.json                    the vocabulary
    <split>.source.bin                ids of all source sentences, one after the other (uint16/32)
    <split>.source.offsets.bin        int64 (pairs + 1,): sentence n is ids[offsets[n]:offsets[n+1]]
    <split>.target.bin, <split>.target.offsets.bin
    <split>.lines.bin                 int64 (pairs,): line number in the split, from 0
    <split>.source.txt, <split>.target.txt    the corpus's lines, of all splits but train
    manifest.json                     settings, counts, what was dropped and why, sizes of the files

Arrays are raw, in the byte order of the machine. A folder that has its name is whole: see
:mod:`qvbench.data.preprocessing`, which writes it. Opening one compares the sizes of its files with
the manifest, so that what a disk lost afterwards shows here.
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

FORMAT = 3  # part of a store's name: another version's files are never misread
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

Ids = npt.NDArray[np.unsignedinteger[Any]]
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


def id_type(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest type that holds all ids of a vocabulary."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)


class StoredSplit:
    """The stored pairs of one split, memory-mapped.

    Args:
        folder: of the store.
        name: of the split.
        ids: type of its ids.

    Attributes:
        source: source sentences, without special tokens.
        target: target sentences, without special tokens.
        lines: line number in the corpus's split of every pair, from 0.

    Raises:
        UserError: the store is damaged.
    """

    def __init__(self, folder: Path, name: str, ids: np.dtype[Any]) -> None:
        self._settings = (folder, name, ids)
        stem = folder / name
        self.source = Side(_mapped(stem, "source", ids), _mapped(stem, "source.offsets"))
        self.target = Side(_mapped(stem, "target", ids), _mapped(stem, "target.offsets"))
        self.lines: Int64 = _mapped(stem, "lines")

    def __len__(self) -> int:
        return len(self.lines)

    def __reduce__(self) -> tuple[type[StoredSplit], tuple[Any, ...]]:
        """Worker processes map the files themselves: a pickled map would be a copy of it all."""
        return StoredSplit, self._settings


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
            folder / MANIFEST, lambda path: json.loads(path.read_text(encoding="utf-8"))
        )
        for name, size in self.manifest["files"].items():
            _read(folder / name, partial(_check_size, size=size))
        self.vocabulary = Vocabulary.load(folder / TOKENIZER)

    def split(self, name: str) -> StoredSplit:
        """The pairs of a split."""
        return StoredSplit(self.folder, name, id_type(len(self.vocabulary)))

    def lines(self, split: str, side: Literal["source", "target"]) -> list[str]:
        """The lines of a validation or test set as the corpus has them."""
        text: str = _read(
            self.folder / f"{split}.{side}.txt", lambda path: path.read_bytes().decode("utf-8")
        )
        return text.removesuffix("\n").split("\n")


def _mapped(stem: Path, suffix: str, dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
    path = stem.with_name(f"{stem.name}.{suffix}.bin")
    array: npt.NDArray[Any] = _read(
        path,
        # Nothing can be mapped of an empty file: one that holds empty sentences alone.
        lambda path: np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype),
    )
    return array


def _check_size(path: Path, size: int) -> None:
    if (found := path.stat().st_size) != size:
        raise ValueError(f"{found:,} bytes of {size:,}")


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: damaged ({error}); remove the folder {path.parent}, it will be written anew"
        ) from None
