"""Stored token ids: whole or not there, found by what determines them."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qvbench.data.corpora import Text
from qvbench.data.store import FORMAT
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError
from tests.data.conftest import write_pair

Make = Callable[..., TranslationDataModule]


def dropped(module: TranslationDataModule, split: str) -> dict[str, int]:
    counts: dict[str, int] = module.store.manifest["splits"][split]["dropped"]
    return counts


def test_ids_are_stored_small_and_mapped(data_module: Make) -> None:
    """Catches a corpus that is read into memory, or stored in eight bytes a subword."""
    split = data_module().split("train")
    assert isinstance(split.source.ids, np.memmap)
    assert split.source.ids.dtype == np.uint16
    assert split.source.offsets[-1] == len(split.source.ids)


def test_a_worker_maps_the_files_itself(data_module: Make) -> None:
    """Catches a pickled copy of the whole corpus for every worker."""
    split = data_module().split("train")
    sent = pickle.dumps(split)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).target.ids, split.target.ids)


def test_long_training_pairs_are_dropped_and_counted(
    data_module: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches dropping on one side only, dropping from test sets, and line numbers that shift."""
    with caplog.at_level("INFO"):
        module = data_module(max_length=8)
    whole = data_module(max_length=1000)
    fits = [
        max(len(whole.vocabulary.encode(line)) for line in pair) <= 8
        for pair in module.corpus.pairs("train")
    ]
    assert 0 < sum(fits) < 120
    assert module.split("train").lines.tolist() == [n for n, fit in enumerate(fits) if fit]
    assert dropped(module, "train") == {"over 8 subwords": 120 - sum(fits)}
    assert dropped(module, "val") == dropped(module, "test") == {}
    assert len(module.split("test")) == 13
    assert f"{120 - sum(fits)} over 8 subwords" in caplog.text


def test_nothing_left_is_an_error(data_module: Make, tmp_path: Path) -> None:
    """Catches an empty store, which a sampler would fail over without a word of why, and a remedy
    for another reason."""
    pair = write_pair(tmp_path, "long", ["man dog house"] * 3, ["man dog"] * 3)
    corpus = Text(pair, pair, {"test": pair}, tokenized=True)
    with pytest.raises(UserError, match="is left of 3; dropped: 3 over 1 subwords; raise max_"):
        data_module(corpus=corpus, max_length=1)


def test_a_store_is_written_once(data_module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches preparing anew at every start."""
    data_module()

    def refuse(*_: object) -> None:
        raise AssertionError("stored already")

    monkeypatch.setattr(TranslationDataModule, "write", refuse)
    data_module()
    with pytest.raises(AssertionError, match="stored already"):
        data_module(merges=40)


@pytest.mark.parametrize(
    "change", [{"merges": 40}, {"max_length": 9}, {"lowercase": True}, {"pairs": 121}]
)
def test_whatever_changes_the_ids_changes_the_folder(
    data_module: Make, change: dict[str, int]
) -> None:
    """Catches stale ids after a change of text or settings."""
    before = data_module().folder
    assert data_module(**change).folder != before
    assert before.is_dir()


@pytest.mark.parametrize("change", [{"seed": 5}, {"max_tokens": 300}, {"num_workers": 1}])
def test_what_does_not_change_the_ids_does_not(data_module: Make, change: dict[str, int]) -> None:
    """Catches a store for every seed."""
    assert data_module(**change).fingerprint == data_module().fingerprint


def test_a_version_of_the_tokenizer_changes_the_folder(
    data_module: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches ids of an older tokenizer under a new one."""
    before = data_module().fingerprint
    monkeypatch.setattr("qvbench.data.translation.version", lambda _: "0.0.1")
    assert data_module().fingerprint != before


FILES = ["manifest.json", "tokenizer.json", "train.target.offsets.bin", "val.target.txt"]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_store_is_named_when_it_is_opened(data_module: Make, name: str) -> None:
    """Catches a traceback from deep inside numpy, references that end early, which raise a BLEU
    score without a word, and ids of another text in a file of the same size."""
    file = data_module().folder / name
    whole = file.read_bytes()
    for damaged in (whole[:-2], bytes(len(whole))):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}: damaged .*; remove the folder"):
            data_module()
    file.unlink()
    if name == "manifest.json":
        data_module()  # such a folder is no store, and is written anew
    else:
        with pytest.raises(UserError, match=rf"{name}: damaged .*; remove the folder"):
            data_module()


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": []}', '{"files": {"x": {}}}'])
def test_a_manifest_of_something_else_is_damaged(data_module: Make, content: str) -> None:
    """Catches a traceback for JSON that is no manifest."""
    (data_module().folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"damaged .*; remove the folder"):
        data_module()


def test_a_read_only_cache_serves_what_it_has(
    data_module: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a lock, a mark or a memory that an opened store would need to write."""
    stored = data_module()
    corpus, cache = stored.corpus, stored.cache_dir

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("write_text", "unlink", "rename", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("qvbench.data.cache.FileLock.acquire", refuse)
    module = TranslationDataModule(corpus, 100, 50, cache_dir=cache)
    module.setup()
    assert sum(len(batch.index) for batch in module.train_dataloader()) == 120


def test_an_unreadable_store_is_one_line(
    data_module: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback over another user's files."""
    read = Path.read_text

    def refuse(self: Path, *arguments: Any, **options: Any) -> str:
        if self.name == "manifest.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self, *arguments, **options)

    data_module()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"manifest\.json: damaged .*Permission denied"):
        data_module()


def test_the_manifest_says_what_was_stored(data_module: Make) -> None:
    """Catches counts of another split or side."""
    module = data_module()
    manifest = json.loads((module.folder / "manifest.json").read_text())
    assert manifest["vocabulary"] == len(module.vocabulary)
    for name, count in (("train", 120), ("val", 17), ("test", 13)):
        entry, split = manifest["splits"][name], module.split(name)
        assert entry["pairs"] == count == len(split)
        for side in ("source", "target"):
            assert entry[side]["subwords"] == getattr(split, side).lengths.sum()
            assert entry[side]["longest"] == getattr(split, side).lengths.max()
    assert manifest["settings"]["corpus"] == module.corpus.fingerprint()


@pytest.mark.parametrize("place", ["file", "folder/below"])
def test_a_cache_that_cannot_be_written_is_named(
    data_module: Make, tmp_path: Path, place: str
) -> None:
    """Catches a traceback over a file in the way."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").symlink_to(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot be written.*QVBENCH_CACHE"):
        data_module(cache_dir=str(tmp_path / place))


def test_the_cache_is_chosen_by_the_environment(
    data_module: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches gigabytes in a home folder with a quota."""
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path / "elsewhere"))
    module = data_module(cache_dir=None)
    assert module.folder.parent == tmp_path / "elsewhere"
    assert module.folder.name == f"text-{module.fingerprint[:16]}.v{FORMAT}"


def test_a_removed_store_is_written_anew(data_module: Make) -> None:
    """Catches a memory of stores beside the stores."""
    shutil.rmtree(data_module().folder)
    assert len(data_module().split("val")) == 17
