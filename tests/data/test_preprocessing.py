"""Writing a store: whole or not there, in bounded memory, honest about errors."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvbench.data import preprocessing
from qvbench.data.corpora import Grammar, Text
from qvbench.data.preprocessing import PreprocessingConfig, learn_vocabulary, ordered_map
from qvbench.data.store import Store
from qvbench.data.text import frequent_characters
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError
from tests.data.functions import die_at_three, slow_if_even

Make = Callable[..., TranslationDataModule]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def module_over(folder: Path, pairs: int = 300, **settings: Any) -> TranslationDataModule:
    corpus = Grammar(pairs, 20, 20)
    return TranslationDataModule(corpus, **({"merges": 60, "cache_dir": str(folder)} | settings))


# Words and characters


def test_words_one_by_one_are_the_line(data_module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a merge across words, ids that depend on what stood before, and a memory of words
    that grows with the corpus."""
    monkeypatch.setattr(preprocessing, "_CACHED_WORDS", 3)
    vocabulary = data_module().vocabulary
    lines = ["man woman", "", "mandog x<y </s> <pad>", "\u2581 _", "dog " * 40 + "house", "żółw <"]
    encode = preprocessing.word_encoder(vocabulary)
    for line in [*lines, *lines]:
        ids = b"".join(map(encode, line.split(" ")))
        assert np.frombuffer(ids, np.uint16).tolist() == vocabulary.encode(line)
        assert encode.cache_info().currsize <= 3  # type: ignore[attr-defined]


def test_the_rarest_words_are_left_out_of_learning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a threshold that is off by one, a frequent word left out, an empty line counted as
    one, characters counted once per word, and a vocabulary of less than the corpus that nobody is
    told of."""
    (tmp_path / "train.words").write_text("aa bb aa cc\naa bb dd\nee 😀 bb\n\n")
    config = PreprocessingConfig(merges=20, max_length=9)
    counted: list[dict[str, int]] = []

    def alphabet(counts: dict[str, int], *_: object) -> set[str]:
        counted.append(dict(counts))
        return set(counts)

    monkeypatch.setattr(preprocessing, "frequent_characters", alphabet)
    for most, learned_from in ((6, 1), (5, 2), (2, 2), (1, 4)):
        monkeypatch.setattr(preprocessing, "_LEARNED_WORDS", most)
        vocabulary, words = learn_vocabulary(tmp_path, config)
        assert words == {"different": 6, "learned_from_count": learned_from}
        assert vocabulary.decode(vocabulary.encode("cc 😀")) == "cc 😀"
        assert (len(vocabulary.encode("aa")) == 1) == (learned_from < 4)
        assert counted.pop() == {"a": 6, "b": 6, "c": 2, "d": 2, "e": 2, "\U0001f600": 1}


@settings(max_examples=30)
@given(
    st.dictionaries(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), st.integers(1)),
    st.integers(0, 40),
    st.integers(56, 90),
)
def test_the_rarest_characters_give_way(counts: dict[str, int], merges: int, most: int) -> None:
    """Catches a vocabulary over its limit, and a frequent character that goes for a rare one."""
    known = frequent_characters(counts, merges, most)
    assert known <= set(counts)
    assert 4 + 1 + len(known) + merges <= most
    if known != set(counts):
        assert 4 + 1 + len(known) + merges > most - 8
        gone = max(counts[character] for character in set(counts) - known)
        assert gone <= min(counts[character] for character in known)


def test_a_limited_vocabulary_keeps_to_its_limit(tmp_path: Path) -> None:
    """Catches a limit that is not passed on, and one that leaves no characters."""
    module = module_over(tmp_path, max_vocabulary=96)
    module.setup()
    assert len(module.vocabulary) == 96
    unknown = module.store.manifest["splits"]["train"]["source"]["unknown"]
    assert 0 < unknown < 500
    with pytest.raises(UserError, match="max_vocabulary=64 leaves no room for characters"):
        module_over(tmp_path, max_vocabulary=64)


# Whole or not there


def in_a_process(function: Callable[[], None]) -> multiprocessing.Process:
    """Start a forked process, since a new one takes seconds to import torch."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    return process  # type: ignore[return-value]


@pytest.mark.slow
def test_a_preparation_killed_at_any_moment_is_made_good(tmp_path: Path) -> None:
    """Catches a half-written store under a finished one's name, and a lock that outlives."""
    whole = module_over(tmp_path / "whole")
    before = time.monotonic()
    whole.prepare_data()
    takes = time.monotonic() - before
    module = module_over(tmp_path / "killed")
    for moment in range(8):
        process = in_a_process(module_over(tmp_path / "killed").prepare_data)
        time.sleep(takes * moment / 7)
        process.kill()
        process.join()
        if module.is_stored:
            Store(module.folder)
            break
    module.setup()
    assert contents(module.folder) == contents(whole.folder)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
@pytest.mark.parametrize("name", ["read_lines", "learn_vocabulary", "encode_split"])
def test_an_interrupted_preparation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    """Catches a half store that the next run takes for whole, a working folder of another attempt
    taken for this one's, and one of other settings that stays for ever."""
    module = module_over(tmp_path)
    other = module.folder.name.replace(module.fingerprint[:16], "0" * 16)
    for name_of_store in (module.folder.name, other):
        stale = tmp_path / f".{name_of_store}.partial"
        stale.mkdir()
        (stale / "train.words").write_text("left behind\n")

    def interrupt(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, name, interrupt)
        with pytest.raises(error):
            module.prepare_data()
    assert not module.is_stored
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    module.prepare_data()
    assert "train.words" not in contents(module.folder)


# Memory and processes


def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches sentences gathered before they are written: at most two chunks are alive."""
    monkeypatch.setattr(preprocessing, "_PAIRS_AT_ONCE", 50)
    alive: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Pair(tuple):  # type: ignore[type-arg]
        def __new__(cls, pair: Iterable[str]) -> Pair:
            alive["pairs"] += 1
            most["pairs"] = max(most["pairs"], alive["pairs"])
            return super().__new__(cls, pair)

        def __del__(self) -> None:
            alive["pairs"] -= 1

    class Watched(Grammar):
        def pairs(self, split: str) -> Iterator[tuple[str, str]]:
            return map(Pair, super().pairs(split))  # type: ignore[arg-type]

    module = TranslationDataModule(Watched(1000, 20, 20), merges=50, cache_dir=str(tmp_path))
    module.setup()
    assert 50 <= most["pairs"] <= 101


@pytest.mark.slow
def test_processes_give_results_in_order_as_they_are_needed() -> None:
    """Catches a result beside another item's, one process that does all, and a corpus that is read
    into memory before the first of it is done."""
    read = []
    items = (read.append(n) or n for n in range(12))
    found = []
    for item, (number, process) in ordered_map(slow_if_even, items, 2):
        assert len(read) <= item + 2 * 2
        assert item == number
        found.append(process)
    assert len(found) == 12
    assert len(set(found)) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize(("items", "processes"), [(5, 1), (1, 4), (0, 4)])
def test_little_work_starts_no_process(items: int, processes: int) -> None:
    """Catches seconds of starting processes for a test set of one line."""
    found = list(ordered_map(slow_if_even, range(items), processes))
    assert [result for _, result in found] == [(n, os.getpid()) for n in range(items)]


@pytest.mark.slow
def test_an_error_in_a_process_is_raised_here() -> None:
    """Catches a worker that is killed, for want of memory, and waited for for ever."""
    with pytest.raises(UserError, match="was killed; if memory ran out"):
        list(ordered_map(die_at_three, range(6), 2))
    with pytest.raises(ZeroDivisionError):
        list(ordered_map((1).__truediv__, [2, 1, 0, 4], 2))


@pytest.mark.slow
def test_raw_text_is_stored_alike_by_one_process_and_by_two(
    tmp_path: Path, text_corpus: Callable[..., Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches chunks that change places, or a process whose tokenizer is set up otherwise."""
    monkeypatch.setattr(preprocessing, "_PAIRS_AT_ONCE", 50)  # three chunks of train
    stores = []
    for processes in (1, 2):
        monkeypatch.setattr(preprocessing, "usable_cores", lambda count=processes: count)
        module = TranslationDataModule(
            text_corpus(tokenized=False), merges=60, cache_dir=str(tmp_path / str(processes))
        )
        module.prepare_data()
        stores.append(contents(module.folder))
    assert stores[0] == stores[1]
    assert len(stores[0]) > 9


# Errors


@pytest.mark.parametrize("count", [0, 3, 99])
def test_a_full_disk_is_one_line_and_frees_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Catches a traceback, and half a store that fills the disk for good."""
    made, writes = Path.open, [0]

    def opened(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = made(self, mode, *arguments, **options)
        if mode != "wb" or ".partial" not in self.parent.name:
            return file

        def write(content: bytes) -> int:
            writes[0] += 1
            if writes[0] > count:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(file.write(content))

        return nullcontext(SimpleNamespace(write=write))

    monkeypatch.setattr(preprocessing, "_PAIRS_AT_ONCE", 40)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(UserError, match=r"the disk is full; free") as error:
            module_over(tmp_path).prepare_data()
    assert "\n" not in str(error.value)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    module_over(tmp_path).setup()


@pytest.mark.slow
def test_a_write_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    """Catches an error that shows only when a buffer is flushed, by a real limit of the system."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(UserError, match=r"the cache cannot be written \(File too large\)"):
            module_over(tmp_path / "cache").prepare_data()

    process = in_a_process(limited)
    process.join()
    assert process.exitcode == 0
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_corpus_that_changed_under_its_store_is_stored_anew(
    text_corpus: Callable[..., Text], tmp_path: Path
) -> None:
    """Catches stale ids where a file was changed in place, its length and time kept."""

    def opened() -> TranslationDataModule:
        # Anew from the paths, as another process would.
        files = {split: tuple(map(str, pair)) for split, pair in corpus.files.items()}
        again = Text(files["train"], files["val"], {"test": files["test"]}, tokenized=True)  # type: ignore[arg-type]
        module = TranslationDataModule(again, merges=50, cache_dir=str(tmp_path / "cache"))
        module.setup()
        return module

    corpus = text_corpus()
    before = opened()
    file = tmp_path / "train.en"
    state = file.stat()
    file.write_text(file.read_text().replace("man", "nam"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = opened()
    assert after.folder != before.folder
    assert "man" not in after.vocabulary.decode(after.split("train").source.ids[:].tolist())
