"""Token ids on disk: written once, found by their fingerprint, read through memory maps.

A store is one folder::

    tokenizer.json                    the vocabulary
    <split>.source.npy                ids of all source sentences, one after the other (uint16/32)
    <split>.source.offsets.npy        int64 (pairs + 1,): sentence n is ids[offsets[n]:offsets[n+1]]
    <split>.target.npy, <split>.target.offsets.npy
    <split>.lines.npy                 int64 (pairs,): line number in the split, from 0
    <split>.source.txt, <split>.target.txt    the corpus's lines, of all splits but train
    manifest.json                     what it was made from, counts, what was dropped and why

It is written under another name and renamed when it is complete, so a folder that has the right
name is whole; of two processes that write the same one, the later throws its own away.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import numpy.typing as npt

from qvbench.data.cache import make_folder
from qvbench.data.corpora.interface import Corpus
from qvbench.data.progress import track
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

FORMAT = 2
_PAIRS_AT_ONCE = 20_000

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


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, ValueError, EOFError) as fault:
        raise UserError(
            f"{path}: damaged ({fault}); remove the folder {path.parent}, it will be written anew"
        ) from None


def write_store(
    folder: Path,
    corpus: Corpus,
    processor: TextProcessor,
    merges: int,
    max_length: int,
    settings: dict[str, object],
) -> None:
    """Process a corpus, learn its vocabulary, and write its token ids to ``folder``.

    Args:
        folder: the finished store's name.
        corpus: prepared.
        processor: makes words of its lines.
        merges: of byte-pair encoding.
        max_length: training pairs with more subwords on a side are dropped.
        settings: what the fingerprint was made from, for the manifest.
    """
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # All text is read before any slow work, so that a fault on the last line costs little.
        alphabet = _spool(temporary, corpus, processor)
        logger.info("learning a vocabulary of %s merges", f"{merges:,}")
        vocabulary = Vocabulary.train(_spooled_words(temporary, "train"), merges, alphabet)
        vocabulary.save(temporary / "tokenizer.json")
        splits = {
            split: _encode_split(temporary, split, vocabulary, max_length)
            for split in corpus.splits()
        }
        for path in temporary.glob("*.words"):
            path.unlink()
        manifest = {"settings": settings, "vocabulary": len(vocabulary), "splits": splits}
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        temporary.chmod(0o755)
        _rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _report(manifest, folder)


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as fault:
        if not (folder / "manifest.json").is_file():  # no other process has finished it
            raise UserError(
                f"{folder}: cannot take the stored data ({fault.strerror}); remove it"
            ) from None


def _spool(folder: Path, corpus: Corpus, processor: TextProcessor) -> set[str]:
    """Write the words of all splits to text files; returns the training text's characters."""
    alphabet: set[str] = set()
    for split in corpus.splits():
        with ExitStack() as files:
            spool = files.enter_context(_text_file(folder / f"{split}.words"))
            # Evaluation needs the lines too, perhaps where the corpus itself is not at hand.
            kept = [
                files.enter_context(_text_file(folder / f"{split}.{side}.txt"))
                for side in ("source", "target")
                if split != "train"
            ]
            for pair in track(corpus.pairs(split), f"reading {split}"):
                words = processor.source(pair[0]), processor.target(pair[1])
                spool.write(f"{words[0]}\n{words[1]}\n")
                for file, line in zip(kept, pair, strict=False):
                    file.write(f"{line}\n")
                if split == "train":
                    alphabet.update(*words)
    return alphabet


def _text_file(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def _spooled_words(folder: Path, split: str) -> Iterator[str]:
    """Source and target lines in turn. Words hold no line ends: splitting took them away."""
    with (folder / f"{split}.words").open(encoding="utf-8", newline="\n") as spool:
        for line in spool:
            yield line.rstrip("\n")


def _encode_split(
    folder: Path, split: str, vocabulary: Vocabulary, max_length: int
) -> dict[str, object]:
    """Encode one split, write its arrays, return its entry in the manifest."""
    sides = {"source": _SideWriter(len(vocabulary)), "target": _SideWriter(len(vocabulary))}
    lines: list[int] = []
    dropped: Counter[str] = Counter()
    number = 0
    pairs = _encoded_pairs(_spooled_words(folder, split), vocabulary)
    for number, pair in enumerate(track(pairs, f"encoding {split}"), start=1):
        reason = _drop_reason(*pair, max_length) if split == "train" else None
        if reason:
            dropped[reason] += 1
        else:
            lines.append(number - 1)
            for side, sentence in zip(sides.values(), pair, strict=True):
                side.add(sentence)
    if not lines:
        raise UserError(f"{split}: no pair is left of {number:,}; raise max_length={max_length}")
    np.save(folder / f"{split}.lines.npy", np.array(lines, dtype=np.int64))
    written = {side: writer.save(folder, f"{split}.{side}") for side, writer in sides.items()}
    return {"pairs": len(lines), "dropped": dict(dropped), **written}


def _encoded_pairs(
    words: Iterator[str], vocabulary: Vocabulary
) -> Iterator[tuple[list[int], list[int]]]:
    """Ids of source and target lines that come in turn, encoded many at once."""
    while chunk := list(islice(words, 2 * _PAIRS_AT_ONCE)):
        ids = vocabulary.encode_batch(chunk)
        yield from zip(ids[::2], ids[1::2], strict=True)


def _drop_reason(source: list[int], target: list[int], max_length: int) -> str | None:
    if not source or not target:
        return "empty on a side"
    if max(len(source), len(target)) > max_length:
        return f"over {max_length} subwords"
    return None


class _SideWriter:
    """Gathers the sentences of one side in machine integers, since large corpora have 10^8."""

    def __init__(self, vocabulary_size: int) -> None:
        small = vocabulary_size <= 1 << 16
        self._dtype = np.uint16 if small else np.uint32
        self._ids = array("H" if small else "I")
        self._ends = array("q", [0])

    def add(self, sentence: list[int]) -> None:
        self._ids.extend(sentence)
        self._ends.append(len(self._ids))

    def save(self, folder: Path, stem: str) -> dict[str, int]:
        """Write both arrays; returns counts for the manifest."""
        ids = np.frombuffer(self._ids, dtype=self._dtype)
        offsets = np.frombuffer(self._ends, dtype=np.int64)
        np.save(folder / f"{stem}.npy", ids)
        np.save(folder / f"{stem}.offsets.npy", offsets)
        return {
            "subwords": len(ids),
            "unknown": int((ids == Vocabulary.unk).sum()),
            "longest": int(np.diff(offsets).max()),
        }


def _report(manifest: dict[str, Any], folder: Path) -> None:
    logger.info("vocabulary: %s entries; stored in %s", f"{manifest['vocabulary']:,}", folder)
    for split, entry in manifest["splits"].items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in entry["dropped"].items())
        logger.info(
            "%s: %s pairs of %.1f source and %.1f target subwords, %d and %d unknown; dropped: %s",
            split,
            f"{entry['pairs']:,}",
            entry["source"]["subwords"] / entry["pairs"],
            entry["target"]["subwords"] / entry["pairs"],
            entry["source"]["unknown"],
            entry["target"]["unknown"],
            dropped or "none",
        )
