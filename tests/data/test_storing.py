"""Preparing a corpus: by stages that resume, in bounded memory, and honest about faults."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvbench.data import storing
from qvbench.data.array_file import ArrayFile
from qvbench.data.corpora import Grammar, Text
from qvbench.data.module import TranslationDataModule
from qvbench.data.prepare import describe
from qvbench.data.store import Store
from qvbench.data.vocabulary import Vocabulary, frequent_characters
from qvbench.data.words import WordCounts, WordIds
from qvbench.errors import UserError

Make = Callable[..., TranslationDataModule]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def module_over(folder: Path, pairs: int = 300, **settings: Any) -> TranslationDataModule:
    corpus = Grammar(pairs, 20, 20)
    return TranslationDataModule(corpus, **({"merges": 60, "cache_dir": str(folder)} | settings))


# Arrays


@given(st.lists(st.lists(st.integers(0, 60_000), max_size=9), max_size=9))
def test_an_array_grows_as_numpy_would_have_written_it(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[int]]
) -> None:
    """Catches a header that overwrites the first entries, or has the wrong length."""
    folder = tmp_path_factory.mktemp("array")
    with ArrayFile(folder / "grown.npy", np.uint16) as file:
        for number, piece in enumerate(pieces):
            values = np.array(piece, dtype=np.uint16)
            file.append(values if number % 2 else values.tobytes())
    entries = np.array([entry for piece in pieces for entry in piece], dtype=np.uint16)
    np.save(folder / "saved.npy", entries)
    assert (folder / "grown.npy").read_bytes() == (folder / "saved.npy").read_bytes()


def test_an_interrupted_array_is_seen_to_be_incomplete(tmp_path: Path) -> None:
    """Catches a header that says complete before the entries are."""

    def interrupted() -> None:
        with ArrayFile(tmp_path / "array.npy", np.int64) as file:
            file.append(np.arange(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(np.load(tmp_path / "array.npy")) == 0


# Words


def test_words_one_by_one_are_the_line(data_module: Make) -> None:
    """Catches a merge across words, and ids of a line that depend on what stood before."""
    vocabulary = data_module().vocabulary
    lines = ["man woman", "", "mandog x<y </s> <pad>", "\u2581 _", "dog " * 40 + "house", "żółw <"]
    words = WordIds(vocabulary)
    for line in [*lines, *lines]:
        assert np.frombuffer(words.of(line), words.dtype).tolist() == vocabulary.encode(line)


def test_remembered_words_are_forgotten(data_module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a memory that grows with the corpus."""
    monkeypatch.setattr("qvbench.data.words._WORDS_KEPT", 3)
    words = WordIds(data_module().vocabulary)
    words.of("man woman dog")
    words.forget_many()
    assert len(words) == 3
    words.of("child")
    words.forget_many()
    assert not words


def test_the_rarest_words_are_left_out_of_learning() -> None:
    lines = ["a b a c", "a b d", "e b"]
    assert WordCounts.of(lines, 5) == (5, 1, frozenset())
    few = WordCounts.of(lines, 4)
    assert few == (5, 2, frozenset("cde"))
    assert list(few.frequent(lines)) == ["a b a", "a b", "b"]
    assert WordCounts.of(lines, 1) == (5, 4, frozenset("abcde"))


def test_leaving_words_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a vocabulary of less than the corpus that nobody is told of."""
    whole = module_over(tmp_path / "whole")
    whole.setup()
    assert whole.manifest["words"]["learned_from_count"] == 1  # type: ignore[index]
    assert "learned from words" not in describe(whole)
    monkeypatch.setattr(storing, "_MOST_WORDS", 50)
    few = module_over(tmp_path / "few")
    few.setup()
    assert few.manifest["words"]["learned_from_count"] > 1  # type: ignore[index]
    assert "learned from words that occur" in describe(few)
    assert few.vocabulary.fingerprint() != whole.vocabulary.fingerprint()


# The size of the vocabulary


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
    free = module_over(tmp_path)
    free.setup()
    letters = len(free.vocabulary) - 60
    module = module_over(tmp_path, max_vocabulary=60 + letters - 20)
    module.setup()
    assert len(module.vocabulary) <= 60 + letters - 20
    assert len(module.vocabulary) % 8 == 0
    unknown = module.manifest["splits"]["train"]["source"]["unknown"]  # type: ignore[index]
    assert 0 < unknown < 200
    assert free.folder != module.folder
    with pytest.raises(UserError, match="max_vocabulary=64 leaves no room for characters"):
        module_over(tmp_path, max_vocabulary=64)


def test_characters_are_counted_exactly() -> None:
    """Catches line ends counted as characters, and code points beyond 16 bits."""
    text = "aäa\n\U0001f600 <b>\u2581\n"
    counts = np.zeros(0x110000, dtype=np.int64)
    storing._count_characters(text, counts)
    storing._count_characters(text, counts)
    found = {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}
    assert found == {key: 2 * count for key, count in Counter(text).items() if key != "\n"}


# Stages


STAGES = ["_read_lines", "_learn", "_encode"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_preparation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Catches hours done twice, and a store that differs from one made in one go."""
    whole = module_over(tmp_path / "whole")
    whole.prepare_data()
    done: list[str] = []

    def count(name: str) -> None:
        work = getattr(storing.Stages, name)

        def counted(self: storing.Stages, *arguments: Any) -> Any:
            done.append(name)
            if name == stage and done.count(name) == 1:
                raise KeyboardInterrupt
            return work(self, *arguments)

        monkeypatch.setattr(storing.Stages, name, counted)

    for name in STAGES:
        count(name)
    module = module_over(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        module.prepare_data()
    assert not module.is_stored
    module.prepare_data()
    assert contents(module.folder) == contents(whole.folder)
    assert [done.count(name) for name in STAGES] == [
        1 + (stage == "_read_lines"),
        1 + (stage == "_learn"),
        3 + (stage == "_encode"),
    ]
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [module.folder.name]


PREPARE = """
import sys
from qvbench.data.corpora import Grammar
from qvbench.data.module import TranslationDataModule
TranslationDataModule(Grammar(6000, 20, 20), merges=500, cache_dir=sys.argv[1]).prepare_data()
"""


@pytest.mark.slow
def test_a_preparation_killed_at_any_moment_is_made_good(tmp_path: Path) -> None:
    """Catches a half-written store under a finished one's name, and a lock that outlives."""
    whole = module_over(tmp_path / "whole", 6000, merges=500)
    whole.prepare_data()
    module = module_over(tmp_path / "killed", 6000, merges=500)
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "killed")]
    for moment in range(12):
        process = subprocess.Popen(command)
        while not (tmp_path / "killed").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.15 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if module.is_stored:
            Store(module.folder)
            break
    module.setup()
    assert contents(module.folder) == contents(whole.folder)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [module.folder.name]


def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches sentences gathered before they are written: at most two chunks are alive."""
    monkeypatch.setattr(storing, "_PAIRS_AT_ONCE", 50)
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


# Faults


def full_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a disk be full from the given write of an array on."""
    append, done = ArrayFile.append, [0]

    def fail(self: ArrayFile, values: Any) -> None:
        done[0] += 1
        if done[0] > count:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, values)

    monkeypatch.setattr(ArrayFile, "append", fail)


@pytest.mark.parametrize("count", [0, 3, 9])
def test_a_full_disk_is_one_line_and_frees_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Catches a traceback, and half a store that fills the disk for good."""
    with monkeypatch.context() as patch:
        full_after(count, patch)
        with pytest.raises(UserError, match=r"grammar-\w+: the disk is full; free some") as fault:
            module_over(tmp_path).prepare_data()
    assert "\n" not in str(fault.value)
    assert not list(tmp_path.iterdir())
    module_over(tmp_path).setup()


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from qvbench.data.corpora import Grammar
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
try:
    TranslationDataModule(Grammar(3000, 20, 20), merges=50, cache_dir=sys.argv[1]).prepare_data()
except UserError as fault:
    print(fault)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_a_write_that_the_system_refuses_is_one_line(tmp_path: Path, limit: int) -> None:
    """Catches a fault that shows only when a buffer is flushed, by a real limit of the system."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "cache"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the cache cannot be written (File too large)" in done.stdout
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qvbench.data.cache.os.access", lambda *_: False)
    with pytest.raises(UserError, match=r"the cache cannot be written .*QVBENCH_CACHE"):
        module_over(tmp_path / "cache").prepare_data()


def test_a_read_only_cache_serves_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a lock, a mark or a memory that an opened store would need to write."""
    module_over(tmp_path).prepare_data()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "write_text", "unlink", "rename", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("qvbench.data.locks.os.open", refuse)
    module = module_over(tmp_path)
    module.setup()
    assert sum(len(batch.index) for batch in module.train_dataloader()) == 300


def test_an_unreadable_store_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_over(tmp_path)
    module.prepare_data()
    read = Path.read_text

    def refuse(self: Path, *arguments: Any, **options: Any) -> str:
        if self.name == "manifest.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"manifest\.json: damaged .*Permission denied"):
        module.setup()


FILES = ["train.source.npy", "train.target.offsets.npy", "val.target.txt", "tokenizer.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_shortened_file_of_a_store_is_found_when_it_is_opened(tmp_path: Path, name: str) -> None:
    """Catches references that end early, which raise a BLEU score without a word."""
    module = module_over(tmp_path)
    module.prepare_data()
    file = module.folder / name
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(UserError, match=rf"{name}: damaged \([\d,]+ bytes of [\d,]+\); remove"):
        module.setup()


def test_a_missing_file_of_a_store_is_found_when_it_is_opened(tmp_path: Path) -> None:
    module = module_over(tmp_path)
    module.prepare_data()
    (module.folder / "val.lines.npy").unlink()
    with pytest.raises(UserError, match=r"val\.lines\.npy: damaged .*remove the folder"):
        module.setup()


def test_a_store_of_an_earlier_version_opens(tmp_path: Path) -> None:
    """Catches a manifest without sizes taken for damaged: what is stored stays stored."""
    module = module_over(tmp_path)
    module.prepare_data()
    file = module.folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for key in ("files", "words"):
        del manifest[key]
    file.write_text(json.dumps(manifest))
    module.setup()
    assert "stored in" in describe(module)


def test_a_corpus_that_changed_under_its_store_is_stored_anew(
    text_corpus: Callable[..., Text], tmp_path: Path
) -> None:
    """Catches stale ids where a file was changed in place, its length and time kept."""

    def opened() -> TranslationDataModule:
        # Anew from the paths, as another process would.
        files = {split: tuple(map(str, pair)) for split, pair in corpus._files.items()}
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
    ids = after.split("train").source.ids
    assert "man" not in after.vocabulary.decode(ids[:].tolist())


def test_an_untrained_vocabulary_is_not_taken(tmp_path: Path) -> None:
    """Catches a vocabulary file that a killed process left half-written."""
    module = module_over(tmp_path)
    work = module.folder.parent / f".{module.folder.name}.partial"
    work.mkdir(parents=True)
    (work / "tokenizer.json").write_text("{")
    module.setup()
    assert isinstance(module.vocabulary, Vocabulary)
