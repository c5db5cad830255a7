"""From a corpus's lines to a store of token ids, in memory that does not grow with the corpus.

Three passes, since text is read faster from the disk than it is tokenized::

    read      lines -> words in <split>.words
    learn     training words, counted -> vocabulary
    encode    words -> ids, filtered, in flat arrays
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from qvbench.data.cache import track
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.store import TOKENIZER, id_type, new_store
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
    """How text becomes ids; see :class:`qvbench.data.module.TranslationDataModule`."""

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


def write_store(
    folder: Path,
    corpus: Corpus,
    processor: TextProcessor,
    config: PreprocessingConfig,
    settings: dict[str, object],
) -> None:
    """Process a prepared corpus, learn its vocabulary, and write its token ids to ``folder``.

    The settings are what the store's fingerprint was made from, for the manifest.

    Raises:
        UserError: a file of the corpus is damaged, or nothing is left of a split.
        OSError: the cache cannot be written.
    """
    with new_store(folder) as (work, manifest):
        read_lines(work, corpus, processor)
        vocabulary, words = learn_vocabulary(work, config)
        splits = {name: encode_split(work, name, vocabulary, config) for name in corpus.splits()}
        for name in splits:
            _words_file(work, name).unlink()
        manifest |= {
            "settings": settings,
            "vocabulary": len(vocabulary),
            "words": words,
            "splits": splits,
        }


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
    """Learn the merges from the training words and write ``tokenizer.json``.

    Learning merges takes about a kilobyte of memory for every different word, and half of the
    words of a crawl occur once (numbers, names, misspellings): the rarest are not learned from.

    Returns:
        The vocabulary; how many different words there are, and how often a word must occur to be
        learned from.
    """
    counts: Counter[str] = Counter()
    for line in _words(work, "train"):
        counts.update(line.split(" "))
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    words_of_count = Counter(counts.values())
    threshold, learned = 1, len(counts)
    while learned > _LEARNED_WORDS:
        learned -= words_of_count[threshold]
        threshold += 1
    rare = {word for word, count in counts.items() if count < threshold}
    words = {"different": len(counts), "learned_from_count": threshold}
    del counts
    logger.info("learning %s merges from %s words", f"{config.merges:,}", f"{words['different']:,}")
    lines = _words(work, "train")
    if rare:
        lines = (" ".join(w for w in line.split(" ") if w not in rare) for line in lines)
    alphabet = frequent_characters(characters, config.merges, config.max_vocabulary)
    vocabulary = Vocabulary.train(lines, config.merges, alphabet)
    (work / TOKENIZER).write_text(vocabulary.to_json(), encoding="utf-8")
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


class _SideWriter:
    """Writes the sentences of one side of a split, given as the bytes of their ids."""

    def __init__(self, ids: BinaryIO, offsets: BinaryIO, dtype: np.dtype[Any]) -> None:
        self._ids, self._offsets, self._dtype = ids, offsets, dtype
        self.counts = {"subwords": 0, "unknown": 0, "longest": 0}
        offsets.write(np.zeros(1, dtype=np.int64).tobytes())

    def append(self, sentences: list[bytes]) -> None:
        ids = np.frombuffer(b"".join(sentences), self._dtype)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        lengths //= self._dtype.itemsize
        self._ids.write(ids.tobytes())
        self._offsets.write((self.counts["subwords"] + np.cumsum(lengths)).tobytes())
        self.counts["subwords"] += len(ids)
        self.counts["unknown"] += int(np.count_nonzero(ids == Vocabulary.unk))
        self.counts["longest"] = max(self.counts["longest"], int(lengths.max(initial=0)))


def encode_split(
    work: Path, split: str, vocabulary: Vocabulary, config: PreprocessingConfig
) -> dict[str, Any]:
    """Write a split's arrays; returns its entry in the manifest.

    Raises:
        UserError: no pair is left of those that were read.
    """
    encode, dtype = word_encoder(vocabulary), id_type(len(vocabulary))
    dropped: Counter[str] = Counter()
    read = 0
    with ExitStack() as files:

        def opened(part: str) -> BinaryIO:
            return files.enter_context((work / f"{split}.{part}.bin").open("wb"))

        sides = [_SideWriter(opened(s), opened(f"{s}.offsets"), dtype) for s in _SIDES]
        lines = opened("lines")
        words = _words(work, split)
        pairs = track(zip(words, words, strict=True), f"encoding {split}")
        for chunk in _chunks(pairs, _PAIRS_AT_ONCE):
            ids = [[b"".join(map(encode, line.split(" "))) for line in pair] for pair in chunk]
            kept: Sequence[int] = range(len(ids))
            if split == "train":
                lengths = [[len(side) // dtype.itemsize for side in pair] for pair in ids]
                reasons = [config.drop_reason(*pair) for pair in lengths]
                dropped.update(reason for reason in reasons if reason)
                kept = [row for row, reason in enumerate(reasons) if not reason]
            for number, writer in enumerate(sides):
                writer.append([ids[row][number] for row in kept])
            lines.write((np.array(kept, dtype=np.int64) + read).tobytes())
            read += len(chunk)
    pairs_kept = read - dropped.total()
    if not pairs_kept:
        raise UserError(
            f"{split}: no pair is left of {read:,}; raise max_length={config.max_length}"
        )
    return {
        "read": read,
        "pairs": pairs_kept,
        "dropped": dict(dropped),
        **{side: writer.counts for side, writer in zip(_SIDES, sides, strict=True)},
    }


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
