"""From a corpus's lines to a store of token ids, in memory that does not grow with the corpus.

Three passes, since text is read faster from the disk than it is tokenized::

    read      lines -> words in <split>.words; the characters of the training text are counted
    learn     training words -> vocabulary
    encode    words -> ids, filtered, in flat arrays

All files are written into a working folder, which takes the store's name as the last step: an
interrupted preparation never leaves half a store under that name, and starts anew the next time.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from qvbench.data.cache import locked, make_folder, write_error
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.parallel import ordered_map, usable_cores
from qvbench.data.progress import track
from qvbench.data.store import MANIFEST, TOKENIZER, id_type
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary, frequent_characters
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_PAIRS_AT_ONCE = 20_000
_LEARNED_WORDS = 1_500_000  # different ones to learn merges from, in about 2 GiB
_CACHED_WORDS = 1_000_000  # whose ids are kept while encoding: 100 to 200 MB
_SIDES = ("source", "target")
_CODE_POINTS = 0x110000

Int64 = npt.NDArray[np.int64]


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
    """Process a corpus, learn its vocabulary, and write its token ids to ``folder``.

    Of processes that do it at the same time, one does, and the others wait for it.

    Args:
        folder: the finished store's name.
        corpus: prepared.
        processor: makes words of its lines.
        config: makes ids of its words.
        settings: what the fingerprint was made from, for the manifest.

    Raises:
        UserError: the corpus is faulty, or the cache cannot be written.
    """
    with locked(folder.parent / f".{folder.name}.lock", f"preparing {folder.name}"):
        if (folder / MANIFEST).is_file():
            return
        work = folder.parent / f".{folder.name}.partial"
        shutil.rmtree(work, ignore_errors=True)  # of a preparation that was killed
        try:
            make_folder(work)
            manifest = _write(work, corpus, processor, config, settings)
            for path in work.iterdir():  # with the power gone, a name must not outlive its content
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            _rename(work, folder)
        except OSError as error:
            raise write_error(folder, error) from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
    _log_summary(manifest, folder)


def _rename(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot take the stored data ({error.strerror}); remove it"
        ) from None


def _write(
    work: Path,
    corpus: Corpus,
    processor: TextProcessor,
    config: PreprocessingConfig,
    settings: dict[str, object],
) -> dict[str, Any]:
    """Write all files of a store; returns its manifest."""
    characters = read_lines(work, corpus, processor)
    vocabulary, words = learn_vocabulary(work, characters, config)
    splits = {split: encode_split(work, split, vocabulary, config) for split in corpus.splits()}
    for split in splits:
        _words_file(work, split).unlink()
    manifest = {
        "settings": settings,
        "vocabulary": len(vocabulary),
        "words": words,
        "splits": splits,
        "files": {path.name: path.stat().st_size for path in sorted(work.iterdir())},
    }
    (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def read_lines(work: Path, corpus: Corpus, processor: TextProcessor) -> dict[str, int]:
    """Write the words of all splits, so that an error on the last line costs little.

    Returns:
        How often each character of the training text occurs.
    """
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    processes = 1 if processor.tokenized else usable_cores()
    for split in corpus.splits():
        with ExitStack() as files:
            words_file = files.enter_context(_words_file(work, split).open("wb"))
            # Evaluation needs the lines too, perhaps where the corpus itself is not at hand.
            kept = [
                files.enter_context((work / f"{split}.{side}.txt").open("wb"))
                for side in _SIDES
                if split != "train"
            ]
            chunks = _chunks(track(corpus.pairs(split), f"reading {split}"), _PAIRS_AT_ONCE)
            for chunk, words in ordered_map(processor.words_of_pairs, chunks, processes):
                words_file.write(words.encode())
                for side, file in enumerate(kept):
                    file.write("".join(f"{pair[side]}\n" for pair in chunk).encode())
                if split == "train":
                    counts += _character_counts(words)
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _character_counts(text: str) -> Int64:
    """How often each code point occurs, except line ends."""
    # Through UTF-32, since a loop over the 10^9 characters of WMT17 takes minutes.
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    counts = np.bincount(codes, minlength=_CODE_POINTS)
    counts[ord("\n")] = 0
    return counts


def learn_vocabulary(
    work: Path, characters: dict[str, int], config: PreprocessingConfig
) -> tuple[Vocabulary, dict[str, int]]:
    """Learn the merges from the training words and write ``tokenizer.json``.

    Returns:
        The vocabulary; how many different words there are, and how often a word must occur to be
        learned from.
    """
    alphabet = frequent_characters(characters, config.merges, config.max_vocabulary)
    counts = WordCounts.of(_words(work, "train"), _LEARNED_WORDS)
    logger.info("learning %s merges from %s words", f"{config.merges:,}", f"{counts.different:,}")
    lines = counts.frequent(_words(work, "train"))
    vocabulary = Vocabulary.train(lines, config.merges, alphabet)
    vocabulary.save(work / TOKENIZER)
    return vocabulary, {"different": counts.different, "learned_from_count": counts.threshold}


class WordCounts(NamedTuple):
    """How many words a text has, and which are too rare to learn from.

    Attributes:
        different: number of different words.
        threshold: words that occur less often than this are left out; 1 leaves out none.
        rare: these words.
    """

    different: int
    threshold: int
    rare: frozenset[str]

    @classmethod
    def of(cls, lines: Iterable[str], most: int) -> WordCounts:
        """Count the words of lines, and leave out the rarest until at most ``most`` remain.

        Learning merges takes about a kilobyte of memory for every different word, and half of
        the words of a crawl occur once: numbers, names, misspellings.
        """
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split(" "))
        words_of_count = Counter(counts.values())
        threshold, remaining = 1, len(counts)
        while remaining > most:
            remaining -= words_of_count[threshold]
            threshold += 1
        rare = frozenset(word for word, count in counts.items() if count < threshold)
        return cls(len(counts), threshold, rare)

    def frequent(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines without their rare words."""
        if not self.rare:
            return iter(lines)
        return (" ".join(w for w in line.split(" ") if w not in self.rare) for line in lines)


class WordIds(dict[str, bytes]):
    """The ids of words as bytes, each word encoded once.

    No merge crosses a space, so a line's ids are its words' ids one after the other: looking
    words up is several times faster than encoding lines.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self.dtype = id_type(len(vocabulary))

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _CACHED_WORDS:
            self.clear()  # a crawl never ends to bring new ones
        ids = np.array(self._vocabulary.encode(word), dtype=self.dtype).tobytes()
        self[word] = ids
        return ids

    def of(self, line: str) -> bytes:
        """Ids of a line of words with single spaces between them."""
        return b"".join(map(self.__getitem__, line.split(" "))) if line else b""


class _SideWriter:
    """Writes the sentences of one side of a split, given as the bytes of their ids, and counts."""

    def __init__(self, ids: BinaryIO, offsets: BinaryIO, vocabulary: Vocabulary) -> None:
        self._ids, self._offsets = ids, offsets
        self._dtype = id_type(len(vocabulary))
        self._counts = np.zeros(len(vocabulary), dtype=np.int64)
        self._subwords = self._longest = 0
        offsets.write(np.zeros(1, dtype=np.int64).tobytes())

    def append(self, sentences: list[bytes]) -> None:
        written = b"".join(sentences)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        lengths //= self._dtype.itemsize
        self._ids.write(written)
        self._offsets.write((self._subwords + np.cumsum(lengths)).tobytes())
        self._counts += np.bincount(
            np.frombuffer(written, self._dtype), minlength=len(self._counts)
        )
        self._subwords += int(lengths.sum())
        self._longest = max(self._longest, int(lengths.max(initial=0)))

    def summary(self) -> dict[str, int]:
        """Counts for the manifest."""
        return {
            "subwords": self._subwords,
            "unknown": int(self._counts[Vocabulary.unk]),
            "longest": self._longest,
            "entries": int(np.count_nonzero(self._counts)),
        }


def encode_split(
    work: Path, split: str, vocabulary: Vocabulary, config: PreprocessingConfig
) -> dict[str, Any]:
    """Write a split's arrays; returns its entry in the manifest.

    Raises:
        UserError: no pair is left of those that were read.
    """
    word_ids = WordIds(vocabulary)
    dropped: Counter[str] = Counter()
    read = 0
    with ExitStack() as files:

        def opened(suffix: str) -> BinaryIO:
            return files.enter_context((work / f"{split}.{suffix}.bin").open("wb"))

        sides = [_SideWriter(opened(s), opened(f"{s}.offsets"), vocabulary) for s in _SIDES]
        lines = opened("lines")
        words = _words(work, split)
        pairs = track(zip(words, words, strict=True), f"encoding {split}")
        for chunk in _chunks(pairs, _PAIRS_AT_ONCE):
            ids = [(word_ids.of(source), word_ids.of(target)) for source, target in chunk]
            kept = np.arange(len(chunk))
            if split == "train":
                kept = _kept(ids, word_ids.dtype.itemsize, config, dropped)
            for number, writer in enumerate(sides):
                writer.append([ids[row][number] for row in kept])
            lines.write((kept + read).tobytes())
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
        **{side: writer.summary() for side, writer in zip(_SIDES, sides, strict=True)},
    }


def _kept(
    ids: list[tuple[bytes, bytes]],
    itemsize: int,
    config: PreprocessingConfig,
    dropped: Counter[str],
) -> Int64:
    """Rows of the pairs that are kept; the reasons of the others are counted."""
    reasons = [config.drop_reason(len(one) // itemsize, len(two) // itemsize) for one, two in ids]
    dropped.update(reason for reason in reasons if reason)
    return np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)


def _words_file(work: Path, split: str) -> Path:
    return work / f"{split}.words"


def _words(work: Path, split: str) -> Iterator[str]:
    """Words of source and target lines in turn."""
    with _words_file(work, split).open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _log_summary(manifest: dict[str, Any], folder: Path) -> None:
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
