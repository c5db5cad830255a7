"""From a corpus's lines to a store of token ids, with 24 bytes per pair of the corpus in memory.

Three passes, since text is read faster from the disk than it is tokenized::

    read      lines -> words in <split>.words
    learn     training words, counted -> vocabulary
    encode    words -> ids, filtered, in flat arrays
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qvbench.data.cache import track
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.store import StoredSplit, id_type
from qvbench.data.text import TextProcessor, Vocabulary, frequent_characters
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_PAIRS_AT_ONCE = 20_000
_LEARNED_WORDS = 1_500_000  # different ones to learn merges from, in about 2 GiB
_CACHED_WORDS = 1_000_000  # whose ids are kept while encoding: 100 to 200 MB
_SIDES = ("source", "target")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PreprocessingConfig:
    """How text becomes ids; see :class:`qvbench.data.translation.TranslationDataModule`."""

    merges: int
    max_length: int
    max_ratio: float | None = None
    max_vocabulary: int | None = None

    def drop_reason(self, source: int, target: int) -> str | None:
        """Why a training pair of so many subwords is dropped; None if it is kept."""
        if not source or not target:
            return "empty on a side"
        if max(source, target) > self.max_length:
            return f"over {self.max_length} subwords"
        if self.max_ratio and max(source, target) > self.max_ratio * min(source, target):
            return f"over a length ratio of {self.max_ratio:g}"
        return None


def read_lines(work: Path, corpus: Corpus, processor: TextProcessor) -> None:
    """Write the words of all splits, so that an error on the last line costs little."""
    processes = 1 if processor.tokenized else usable_cores()
    for split in corpus.splits():
        # Evaluation needs the lines too, perhaps where the corpus itself is not at hand.
        sides = () if split == "train" else _SIDES
        with ExitStack() as files:
            words_file = files.enter_context(_words_file(work, split).open("wb"))
            paths = [work / f"{split}.{side}.txt" for side in sides]
            kept = [files.enter_context(path.open("wb")) for path in paths]
            chunks = _chunks(track(corpus.pairs(split), f"reading {split}"), _PAIRS_AT_ONCE)
            for chunk, words in ordered_map(processor.words_of_pairs, chunks, processes):
                words_file.write(words.encode())
                for side, file in enumerate(kept):
                    file.write("".join(f"{pair[side]}\n" for pair in chunk).encode())


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], processes: int
) -> Iterator[tuple[T, R]]:
    """Items with their results, in order, two items per process at a time.

    ``Executor.map`` alone would read all items first. One item alone is done in this process.

    Raises:
        UserError: a process was killed.
    """
    # Not forked: this process may have threads, whose locks a fork would leave locked.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        try:
            for window in _chunks(items, 2 * processes if processes > 1 else 1):
                apply = pool.map if len(window) > 1 else map
                yield from zip(window, apply(function, window), strict=True)
        except BrokenProcessPool:
            raise UserError(
                f"one of {processes} processes that prepare text was killed; if memory ran out, "
                "let it run on fewer cores (taskset)"
            ) from None


def learn_vocabulary(work: Path, config: PreprocessingConfig) -> tuple[Vocabulary, dict[str, int]]:
    """Learn the merges from the training words.

    Learning merges takes about a kilobyte of memory for every different word, and half of the
    words of a crawl occur once (numbers, names, misspellings): the rarest are not learned from.

    Returns:
        The vocabulary; how many different words there are, and how often a word must occur to be
        learned from.
    """
    counts: Counter[str] = Counter()
    for line in _words(work, "train"):
        counts.update(line.split(" "))
    counts.pop("", None)  # of empty lines
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    too_rare = sorted(counts.values(), reverse=True)[_LEARNED_WORDS:]
    threshold = 1 + max(too_rare, default=0)
    rare = {word for word, count in counts.items() if count < threshold}
    words = {"different": len(counts), "learned_from_count": threshold}
    del counts
    logger.info("learning %s merges from %s words", f"{config.merges:,}", f"{words['different']:,}")
    lines = _words(work, "train")
    if rare:
        lines = (" ".join(w for w in line.split(" ") if w not in rare) for line in lines)
    alphabet = frequent_characters(characters, config.merges, config.max_vocabulary)
    vocabulary = Vocabulary.train(lines, config.merges, alphabet)
    return vocabulary, words


def word_encoder(vocabulary: Vocabulary) -> Callable[[str], bytes]:
    """Gives the ids of a word as bytes. No merge crosses a space: a line's are those of its words.

    Looking words up is several times faster than encoding lines.
    """
    dtype = id_type(len(vocabulary))

    @lru_cache(_CACHED_WORDS)  # a crawl has new ones to its end
    def encode(word: str) -> bytes:
        return np.array(vocabulary.encode(word), dtype).tobytes()

    return encode


def encode_split(
    work: Path, split: str, vocabulary: Vocabulary, config: PreprocessingConfig
) -> dict[str, Any]:
    """Write a split's arrays; returns its entry in the manifest.

    Raises:
        UserError: no pair is left of those that were read.
    """
    encode, dtype = word_encoder(vocabulary), id_type(len(vocabulary))
    dropped: Counter[str] = Counter()
    kept, lengths = array("q"), array("q")  # lines; subwords of source and target in turn
    read = 0
    with ExitStack() as files:
        sides = [files.enter_context((work / f"{split}.{side}.bin").open("wb")) for side in _SIDES]
        words = _words(work, split)
        for pair in track(zip(words, words, strict=True), f"encoding {split}"):
            ids = [b"".join(map(encode, line.split(" "))) for line in pair]
            subwords = [len(sentence) // dtype.itemsize for sentence in ids]
            reason = config.drop_reason(*subwords) if split == "train" else None
            if reason:
                dropped[reason] += 1
            else:
                for file, sentence in zip(sides, ids, strict=True):
                    file.write(sentence)
                kept.append(read)
                lengths.extend(subwords)
            read += 1
    if not kept:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"{split}: no pair is left of {read:,}; dropped: {reasons or 'none'}; raise max_length "
            "or max_ratio where they drop too many, or give other text"
        )
    (work / f"{split}.lines.bin").write_bytes(kept.tobytes())
    for number, side in enumerate(_SIDES):
        offsets = np.append(0, np.cumsum(lengths[number::2], dtype=np.int64))
        (work / f"{split}.{side}.offsets.bin").write_bytes(offsets.tobytes())
    _words_file(work, split).unlink()
    stored = StoredSplit(work, split, dtype)
    counts = {
        name: {
            "subwords": len(side.ids),
            "unknown": int(np.count_nonzero(side.ids == Vocabulary.unk)),
            "longest": int(side.lengths.max()),
        }
        for name, side in zip(_SIDES, (stored.source, stored.target), strict=True)
    }
    return {"read": read, "pairs": len(kept), "dropped": dict(dropped), **counts}


def _words_file(work: Path, split: str) -> Path:
    return work / f"{split}.words"


def _words(work: Path, split: str) -> Iterator[str]:
    """Words of source and target lines in turn."""
    with _words_file(work, split).open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
