"""From a corpus's lines to token ids on disk, in memory that does not grow with the corpus.

Four stages, each of which leaves a file that says it is complete::

    lines.json        all lines read: words of every split in <split>.words, characters counted
    learned.json      the vocabulary is learned from the training words, in tokenizer.json
    <split>.json      the split's ids and offsets are written (one stage a split)
    manifest.json     all of it; then the working folder takes the store's name

A preparation that is killed goes on with the first stage that is not complete. Lines are read
first and to their end, so that a fault on the last of them costs little.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from qvbench.data.array_file import ArrayFile, SideWriter
from qvbench.data.cache import make_folder, write_atomically, write_fault
from qvbench.data.corpora.interface import Corpus
from qvbench.data.locks import locked
from qvbench.data.parallel import ordered_map, usable_cores
from qvbench.data.progress import track
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary, frequent_characters
from qvbench.data.words import WordCounts, WordIds
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_PAIRS_AT_ONCE = 20_000
_MOST_WORDS = 1_500_000  # to learn a vocabulary from, in about 2 GiB
_SIDES = ("source", "target")
_WORKING = ("words", "json")  # ends of a split's files that the store does not keep
_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class PreprocessingConfig:
    """How text becomes ids.

    Args:
        merges: of byte-pair encoding.
        max_length: training pairs with more subwords on a side are dropped.
        max_ratio: training pairs whose longer side has more than this times the subwords of the
            shorter are dropped.
        max_vocabulary: most entries of the vocabulary; the rarest characters give way.
    """

    merges: int
    max_length: int
    max_ratio: float | None = None
    max_vocabulary: int | None = None

    def drop_reason(self, source: int, target: int) -> str | None:
        """Why a training pair of so many subwords is dropped; None keeps it."""
        if not source or not target:
            return "empty on a side"
        if max(source, target) > self.max_length:
            return f"over {self.max_length} subwords"
        if self.max_ratio is not None and max(source, target) > self.max_ratio * min(
            source, target
        ):
            return f"over a length ratio of {self.max_ratio:g}"
        return None


def write_store(
    folder: Path,
    corpus: Corpus,
    processor: TextProcessor,
    recipe: PreprocessingConfig,
    settings: dict[str, object],
) -> None:
    """Process a corpus, learn its vocabulary, and write its token ids to ``folder``.

    Of processes that do it at the same time, one does, and the others wait for it.

    Args:
        folder: the finished store's name.
        corpus: prepared.
        processor: makes words of its lines.
        recipe: makes ids of its words.
        settings: what the fingerprint was made from, for the manifest.

    Raises:
        UserError: the corpus is faulty, or the cache cannot be written.
    """
    make_folder(folder.parent)
    with locked(folder.parent / f".{folder.name}.lock", f"preparing {folder.name}"):
        if (folder / "manifest.json").is_file():
            return
        work = make_folder(folder.parent / f".{folder.name}.partial")
        try:
            manifest = Stages(work, corpus, processor, recipe).run(settings)
            _take_name(work, folder)
        except OSError as fault:
            shutil.rmtree(work, ignore_errors=True)
            raise write_fault(folder, fault) from None
        except UserError:  # an interruption, on the contrary, leaves the complete stages
            shutil.rmtree(work, ignore_errors=True)
            raise
    _report(manifest, folder)


def _take_name(work: Path, folder: Path) -> None:
    for path in work.iterdir():  # a name must not outlive what it names when the power fails
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        work.rename(folder)
    except OSError as fault:
        shutil.rmtree(work, ignore_errors=True)
        raise UserError(
            f"{folder}: cannot take the stored data ({fault.strerror}); remove it"
        ) from None


class Stages:
    """The stages of one preparation. Each does its work once, whichever process asks for it.

    Args:
        folder: works in this one; nobody else does at the same time.
        corpus: prepared.
        processor: makes words of its lines.
        recipe: makes ids of its words.
    """

    def __init__(
        self, folder: Path, corpus: Corpus, processor: TextProcessor, recipe: PreprocessingConfig
    ) -> None:
        self.folder = folder
        self.corpus = corpus
        self.processor = processor
        self.recipe = recipe

    def run(self, settings: dict[str, object]) -> dict[str, Any]:
        """Do what has not been done yet; returns the manifest."""
        if any(self.folder.iterdir()):
            logger.info("going on with an interrupted preparation in %s", self.folder)
        self.characters()
        words = self.learned()
        splits = {split: self.encoded(split) for split in self.corpus.splits()}
        working = {
            "lines.json",
            "learned.json",
            *(f"{split}.{end}" for split in splits for end in _WORKING),
        }
        files = sorted(path for path in self.folder.iterdir() if path.name not in working)
        manifest = {
            "settings": settings,
            "vocabulary": len(self.vocabulary),
            "words": words,
            "splits": splits,
            "files": {path.name: path.stat().st_size for path in files},
        }
        for name in working:
            (self.folder / name).unlink()
        write_atomically(self.folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        return manifest

    def characters(self) -> dict[str, int]:
        """How often each character of the training text occurs; reads all lines."""
        found: dict[str, int] = self._stage("lines.json", self._read_lines)["characters"]
        return found

    def learned(self) -> dict[str, int]:
        """How many different words the training text has, and which were too rare to learn from."""
        return self._stage("learned.json", self._learn)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the training text."""
        self.learned()
        return Vocabulary.load(self.folder / "tokenizer.json")

    def encoded(self, split: str) -> dict[str, Any]:
        """A split's entry in the manifest; its arrays are written then."""
        return self._stage(f"{split}.json", partial(self._encode, split))

    def _stage(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a stage left behind, which is done where it has not left anything yet."""
        path = self.folder / name
        if not path.is_file():
            write_atomically(path, json.dumps(work()))
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def _read_lines(self) -> dict[str, Any]:
        """Write the words of all splits; returns how often each training character occurs."""
        counts = np.zeros(_CODE_POINTS, dtype=np.int64)
        for split in self.corpus.splits():
            with ExitStack() as files:
                spool = files.enter_context(_text_file(self.folder / f"{split}.words"))
                # Evaluation needs the lines too, perhaps where the corpus itself is not at hand.
                kept = [
                    files.enter_context(_text_file(self.folder / f"{split}.{side}.txt"))
                    for side in _SIDES
                    if split != "train"
                ]
                pairs = track(self.corpus.pairs(split), f"reading {split}")
                chunks = _chunks(pairs, _PAIRS_AT_ONCE)
                for chunk, words in ordered_map(self.processor.spooled, chunks, self._processes()):
                    spool.write(words)
                    for side, file in enumerate(kept):
                        file.writelines(f"{pair[side]}\n" for pair in chunk)
                    if split == "train":
                        _count_characters(words, counts)
        characters = {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}
        return {"characters": characters}

    def _processes(self) -> int:
        """That make words of lines: raw text takes long enough to be shared out."""
        return 1 if self.processor.tokenized else usable_cores()

    def _learn(self) -> dict[str, int]:
        merges = self.recipe.merges
        alphabet = frequent_characters(self.characters(), merges, self.recipe.max_vocabulary)
        words = WordCounts.of(self._spooled("train"), _MOST_WORDS)
        logger.info("learning %s merges from %s words", f"{merges:,}", f"{words.different:,}")
        lines = words.frequent(self._spooled("train"))
        vocabulary = Vocabulary.train(lines, merges, alphabet)
        write_atomically(self.folder / "tokenizer.json", vocabulary.to_json())
        return {"different": words.different, "learned_from_count": words.below}

    def _spooled(self, split: str) -> Iterator[str]:
        """Source and target lines in turn."""
        path = self.folder / f"{split}.words"
        with path.open(encoding="utf-8", newline="\n") as spool:
            for line in spool:
                yield line.removesuffix("\n")

    def _encode(self, split: str) -> dict[str, Any]:
        """Write a split's arrays; returns its entry in the manifest."""
        vocabulary = self.vocabulary
        words = WordIds(vocabulary)
        dropped: Counter[str] = Counter()
        read = 0
        stem = self.folder / split
        with ExitStack() as files:
            sides = [
                files.enter_context(SideWriter(stem, side, vocabulary, words.dtype))
                for side in _SIDES
            ]
            lines = files.enter_context(ArrayFile(stem.with_name(f"{split}.lines.npy"), np.int64))
            spooled = self._spooled(split)
            pairs = track(zip(spooled, spooled, strict=True), f"encoding {split}")
            for chunk in _chunks(pairs, _PAIRS_AT_ONCE):
                ids = [tuple(map(words.of, pair)) for pair in chunk]
                kept = np.arange(len(chunk))
                if split == "train":
                    kept = self._filter(ids, words.dtype.itemsize, dropped)
                for number, writer in enumerate(sides):
                    writer.append([ids[row][number] for row in kept])
                lines.append(kept + read)
                read += len(chunk)
                words.forget_many()
            if not lines.length:
                raise UserError(
                    f"{split}: no pair is left of {read:,}; raise "
                    f"max_length={self.recipe.max_length}"
                )
        return {
            "read": read,
            "pairs": lines.length,
            "dropped": dict(dropped),
            **{side: writer.summary() for side, writer in zip(_SIDES, sides, strict=True)},
        }

    def _filter(
        self, ids: list[tuple[bytes, ...]], itemsize: int, dropped: Counter[str]
    ) -> npt.NDArray[np.int64]:
        """Rows of the pairs that are kept; the reasons of the others are counted."""
        reasons = [
            self.recipe.drop_reason(*(len(sentence) // itemsize for sentence in pair))
            for pair in ids
        ]
        dropped.update(reason for reason in reasons if reason)
        return np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)


def _text_file(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _count_characters(text: str, counts: npt.NDArray[np.int64]) -> None:
    """Add the characters of a text, but its line ends, to ``counts`` by code point."""
    # Through UTF-32, since a loop over the 10^9 characters of WMT17 takes minutes.
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    counts += np.bincount(codes, minlength=len(counts))
    counts[ord("\n")] = 0


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
