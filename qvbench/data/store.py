"""Token ids on disk: written once, found by their fingerprint, read through memory maps.

A store is one folder::

    tokenizer.json                    the vocabulary
    <split>.source.bin                ids of all source sentences, one after the other (uint16/32)
    <split>.source.offsets.bin        int64 (pairs + 1,): sentence n is ids[offsets[n]:offsets[n+1]]
    <split>.target.bin, <split>.target.offsets.bin
    <split>.lines.bin                 int64 (pairs,): line number in the split, from 0
    <split>.source.txt, <split>.target.txt    the corpus's lines, of all splits but train
    manifest.json                     settings, counts, what was dropped and why, the files' SHA-256

Arrays are raw, in the byte order of the machine. A folder that has its name is whole; opening it
compares its files with the manifest, so that what was lost or changed afterwards shows here. Their
checksums are remembered while nobody writes to them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from qvbench.data.batching import Batch, Lengths
from qvbench.data.corpora.files import file_sha256
from qvbench.data.corpora.synthetic import Int64
from qvbench.data.text import Vocabulary
from qvbench.errors import UserError

FORMAT = 4  # part of a store's name: another version's files are never misread
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

T = TypeVar("T", covariant=True)


@contextmanager
def new_store(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives a working folder to write a store's files into, and the manifest to fill in; at the
    end they become the store ``folder``. The corpus's lock is held.

    Raises:
        OSError: the cache cannot be written.
    """
    work = folder.parent / f".{folder.name}.partial"
    # Of killed preparations of the corpus, with whatever settings; of a store without its manifest.
    corpus, settings = folder.name.rpartition("-")[0], "[0-9a-f]" * 16
    for stale in (*folder.parent.glob(f".{corpus}-{settings}.v*.partial"), folder):
        shutil.rmtree(stale, ignore_errors=True)
    manifest: dict[str, Any] = {}
    try:
        work.mkdir()
        yield work, manifest
        manifest["files"] = {path.name: file_sha256(path) for path in sorted(work.iterdir())}
        text = json.dumps(manifest, indent=1) + "\n"
        (work / MANIFEST).write_text(text, encoding="utf-8")
        for path in work.iterdir():  # without power, no name may outlive its content
            with path.open("rb") as file:
                os.fsync(file.fileno())
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class Side:
    """The sentences of one side of a split, without special tokens."""

    ids: npt.NDArray[np.unsignedinteger[Any]]
    offsets: Int64

    @property
    def lengths(self) -> Int64:
        """Subwords of every sentence (pairs,)."""
        return np.diff(self.offsets)

    def rows(self, pairs: Int64, begin: bool) -> torch.Tensor:
        """Padded rows of ids with ``</s>`` after them, and ``<s>`` before them where asked."""
        starts = np.asarray(self.offsets[pairs])
        lengths = np.asarray(self.offsets[pairs + 1]) - starts
        first = int(begin)
        columns = np.arange(int(lengths.max(initial=0)))
        inside = columns < lengths[:, None]
        rows = np.full((len(pairs), first + len(columns) + 1), Vocabulary.pad, dtype=np.int64)
        rows[:, :first] = Vocabulary.bos
        ids = self.ids[(starts[:, None] + columns)[inside]]
        rows[:, first : first + len(columns)][inside] = ids
        rows[np.arange(len(pairs)), first + lengths] = Vocabulary.eos
        return torch.from_numpy(rows)


def id_type(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest type that holds all ids of a vocabulary."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)


class MappedDataset(Dataset[T]):
    """Memory-mapped files of a store, found by the arguments of the constructor: a worker process
    opens them itself, since a pickled map would be a copy of it all."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[type[MappedDataset[T]], tuple[Any, ...]]:
        return type(self), self._arguments


class StoredSplit(MappedDataset[Batch]):
    """The stored pairs of one split, memory-mapped; an item is a :class:`Batch` of chosen pairs."""

    def __init__(self, folder: Path, name: str, ids: np.dtype[Any]) -> None:
        super().__init__(folder, name, ids)

        def mapped(part: str, dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
            path = folder / f"{name}.{part}.bin"
            # An empty file, of nothing but empty sentences, cannot be mapped.
            return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)

        self.source = Side(mapped("source", ids), mapped("source.offsets"))
        self.target = Side(mapped("target", ids), mapped("target.offsets"))
        self.lines: Int64 = mapped("lines")  # number of every pair in the corpus's split, from 0

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, pairs: Int64) -> Batch:
        index = torch.from_numpy(np.asarray(self.lines[pairs]))
        return Batch(self.source.rows(pairs, False), self.target.rows(pairs, True), index)

    @property
    def lengths(self) -> Lengths:
        """Tokens of every pair as the model sees them."""
        return Lengths(self.source.lengths + 1, self.target.lengths + 1)


class Store:
    """A finished folder of token ids; :class:`UserError` where it is damaged."""

    def __init__(self, folder: Path, vocabulary_class: type[Vocabulary] = Vocabulary) -> None:
        path = folder / MANIFEST
        try:
            self.manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name, sha256 in self.manifest["files"].items():
                path = folder / name
                if not path.is_file():
                    raise ValueError("it is missing")
                if file_sha256(path) != sha256:
                    raise ValueError("it is not what was written")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: damaged ({error}); remove the folder {folder}, it will be written anew"
            ) from None
        self.vocabulary = vocabulary_class.load(folder / TOKENIZER)
