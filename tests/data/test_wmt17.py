"""WMT17: fetched from a server on loopback, in statmt's layout, or read from local copies."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qvbench.data.cache import cache_root
from qvbench.data.corpora import Wmt17, Wmt17Raw, files
from qvbench.data.corpora.files import NotFetchedError
from qvbench.data.text import Vocabulary
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError
from tests.data.conftest import stand_for_datasets
from tests.data.http_server import Server, serving
from tests.data.test_corpora import SHARED
from tests.data.wmt17_files import YEARS, Pairs, archive, from_grammar, published

TRAIN, DEV = from_grammar()
FILES = published(TRAIN, DEV)
VAL = DEV[2014] + DEV[2015]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def statmt() -> Iterator[Server]:
    with serving() as server:
        publish(server, FILES)
        yield server


def publish(server: Server, files: dict[str, bytes]) -> None:
    server.files = {f"/de-en/{name}": content for name, content in files.items()}


def corpus_of(server: Server) -> Wmt17:
    return Wmt17(url=f"{server.url}/de-en")


def module_of(corpus: Wmt17, **settings: Any) -> TranslationDataModule:
    return TranslationDataModule(corpus, **({"merges": 200} | settings))


def dropped(module: TranslationDataModule) -> dict[str, int]:
    counts: dict[str, int] = module.store.manifest["splits"]["train"]["dropped"]
    return counts


def unpacked(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """What a user has who fetched the files by hand."""
    for name, content in files.items():
        if name == "dev.tgz":
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                tar.extractall(folder)
        else:
            (folder / name).write_bytes(content)
    return folder


# Fetched


def test_it_is_fetched_and_split_as_the_recipe_does(statmt: Server) -> None:
    """Catches swapped languages, a validation set without newstest2015, and a second download."""
    for _ in range(2):
        corpus = corpus_of(statmt)
        corpus.prepare()
        assert corpus.splits() == ("train", "val", "newstest2016")
        assert list(corpus.pairs("train")) == TRAIN
        assert list(corpus.pairs("val")) == VAL
        assert list(corpus.pairs("newstest2016")) == DEV[2016]
    names = ["corpus.tc.en.gz", "corpus.tc.de.gz", "dev.tgz"]
    assert statmt.paths == [f"/de-en/{name}" for name in names]


def test_a_run_needs_the_downloads_no_more(statmt: Server) -> None:
    """Catches a stored form that cannot be opened once the downloads were removed."""
    module = module_of(corpus_of(statmt))
    module.setup()
    (folder,) = (cache_root() / "downloads").iterdir()
    for file in folder.iterdir():
        if file.suffix != ".json":
            file.unlink()
    again = module_of(corpus_of(statmt))
    again.setup()
    assert again.folder == module.folder
    assert len(again.split("train")) == len(TRAIN)
    assert len(statmt.paths) == 3


def test_what_was_not_fetched_has_no_fingerprint_and_no_store(statmt: Server) -> None:
    """Catches `qvbench profile`, which asks for the vocabulary, fetching gigabytes."""
    module = module_of(corpus_of(statmt))
    assert not module.is_stored
    with pytest.raises(NotFetchedError, match=r"corpus\.tc\.en\.gz: has not been fetched; run"):
        corpus_of(statmt).fingerprint()
    assert statmt.paths == []


def test_two_addresses_do_not_share_their_files(statmt: Server) -> None:
    """Catches a mirror that passes for the original."""
    corpus_of(statmt).prepare()
    with serving() as other:
        publish(other, published(TRAIN[:100], DEV))
        mirror = corpus_of(other)
        mirror.prepare()
        assert len(list(mirror.pairs("train"))) == 100


def test_an_address_without_a_scheme_is_refused() -> None:
    """Catches a ValueError out of the standard library once the training has begun to prepare."""
    with pytest.raises(UserError, match=r"Wmt17: url mirror\.org/de-en has no scheme; write it"):
        Wmt17(url="mirror.org/de-en")


def test_an_archive_without_a_set_is_named(statmt: Server) -> None:
    """Catches a KeyError out of the archive."""
    publish(statmt, {**FILES, "dev.tgz": archive({"newstest2014.tc.en": b"a\n"})})
    with pytest.raises(
        UserError, match=r"dev\.tgz: is no archive .*newstest2014\.tc\.de.*remove it"
    ):
        corpus_of(statmt).prepare()


def test_names_in_the_archive_lead_nowhere(statmt: Server) -> None:
    """Catches an archive that writes outside its folder."""
    with tarfile.open(fileobj=io.BytesIO(FILES["dev.tgz"])) as tar:
        members = {f"../../{m.name}": tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    publish(statmt, {**FILES, "dev.tgz": archive(members)})
    corpus = corpus_of(statmt)
    corpus.prepare()
    assert list(corpus.pairs("val")) == VAL
    assert sorted(path.name for path in cache_root().iterdir()) == ["downloads"]


def test_two_at_once_prepare_once(statmt: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a second process that fails, fetches or stores it all again, or spoils the first
    one's folder: it comes while the first is learning the vocabulary, and waits."""
    waiting, learned = threading.Event(), []
    train = Vocabulary.train

    def learn(*arguments: Any) -> Vocabulary:
        learned.append(arguments)
        assert waiting.wait(60)
        return train(*arguments)

    monkeypatch.setattr("qvbench.data.preprocessing.Vocabulary.train", learn)
    monkeypatch.setattr("qvbench.data.cache.logger.info", lambda *_: waiting.set())
    modules = [module_of(corpus_of(statmt)) for _ in range(2)]
    threads = [threading.Thread(target=module.prepare_data) for module in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for module in modules:
        module.setup()
        assert len(module.split("train")) == len(TRAIN)
    assert len(statmt.paths) == 3
    assert len(learned) == 1
    stores = [path for path in cache_root().iterdir() if path.name.startswith("wmt17-")]
    assert stores == [modules[0].folder]


# Local copies


def test_local_copies_and_a_download_are_one_corpus(statmt: Server, tmp_path: Path) -> None:
    """Catches a corpus stored again because it lies elsewhere, or uncompressed."""
    fetched = corpus_of(statmt)
    fetched.prepare()
    local = Wmt17(str(unpacked(tmp_path)))
    local.prepare()
    assert list(local.pairs("val")) == VAL
    assert local.fingerprint() == fetched.fingerprint()
    packed = tmp_path / "corpus.tc.de.gz"
    (tmp_path / "corpus.tc.de").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    (tmp_path / "dev").mkdir()
    for file in tmp_path.glob("newstest*"):
        file.rename(tmp_path / "dev" / file.name)
    assert Wmt17(str(tmp_path)).fingerprint() == fetched.fingerprint()


def test_a_missing_copy_says_where_it_is_published(tmp_path: Path) -> None:
    """Catches an error without a remedy."""
    (unpacked(tmp_path) / "newstest2015.tc.de").unlink()
    with pytest.raises(UserError, match=r"newstest2015\.tc\.de: no such file.*leave root out"):
        Wmt17(str(tmp_path)).fingerprint()


def test_a_changed_copy_is_another_corpus(tmp_path: Path) -> None:
    """Catches stale ids after a change of the files."""
    before = Wmt17(str(unpacked(tmp_path))).fingerprint()
    (tmp_path / "newstest2014.tc.en").write_text("other\n" * 20)
    assert Wmt17(str(tmp_path)).fingerprint() != before


# What crawled text is like


def with_empty_lines() -> Pairs:
    pairs = list(TRAIN)
    pairs[4] = ("", pairs[4][1])
    pairs[9] = (pairs[9][0], " \t")
    return pairs


def test_empty_training_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    """Catches a corpus of millions refused for one line, and pairs shifted by a dropped line."""
    module = module_of(Wmt17(str(unpacked(tmp_path, published(with_empty_lines(), DEV)))))
    module.setup()
    split = module.split("train")
    assert dropped(module) == {"empty on a side": 2}
    assert split.lines.tolist() == [n for n in range(len(TRAIN)) if n not in (4, 9)]
    for row, line in enumerate(split.lines[:20]):
        ids = split.target.ids[split.target.offsets[row] : split.target.offsets[row + 1]]
        assert module.vocabulary.decode(ids) == TRAIN[line][1]


def test_an_empty_line_in_a_test_set_is_refused(tmp_path: Path) -> None:
    """Catches BLEU on fewer sentences than published."""
    dev = {**DEV, 2016: [("a", ""), *DEV[2016]]}
    corpus = Wmt17(str(unpacked(tmp_path, published(TRAIN, dev))))
    with pytest.raises(UserError, match=r"newstest2016\.tc\.de:1: empty line"):
        module_of(corpus).prepare_data()


def test_the_real_sample_goes_the_same_way(statmt: Server) -> None:
    """Catches what a grammar does not write: escapes, empty and very long lines, rare letters."""
    folder = SHARED / "wmt-sample"
    if not folder.is_dir():
        pytest.skip("needs the sample of WMT17, which is not part of the repository")
    lines = {
        name: gzip.decompress((folder / f"{name}.gz").read_bytes()).decode().split("\n")[:-1]
        for name in ("train.en", "train.de", "val.en", "val.de")
    }
    train = list(zip(lines["train.en"], lines["train.de"], strict=True))[:2_000]
    val = list(zip(lines["val.en"], lines["val.de"], strict=True))
    publish(statmt, published(train, dict.fromkeys(YEARS, val)))
    module = module_of(corpus_of(statmt), merges=500, max_length=95)
    module.setup()
    kept, gone = len(module.split("train")), dropped(module)
    assert gone["empty on a side"] == 1
    assert gone["over 95 subwords"] > 0
    assert kept + sum(gone.values()) == 2_000
    assert len(module.split("val")) == 100
    assert module.split("train").target.lengths.max() <= 95
    assert module.lines("newstest2016", "target") == lines["val.de"]


# The hub's raw corpora


class Hub:
    """Stands for the package ``datasets``: splits of a few rows, read in batches."""

    SPLITS: ClassVar = {
        ("wmt/wmt17", "train"): TRAIN,
        ("wmt/wmt17", "validation"): DEV[2016],
        ("wmt/wmt17", "test"): DEV[2016][:5],
        ("wmt/wmt15", "validation"): DEV[2014],
        ("wmt/wmt15", "test"): DEV[2015],
    }

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.splits: dict[tuple[str, str], Pairs] = dict(self.SPLITS)
        self.fault: Exception | None = None

    def load_dataset(self, path: str, name: str, split: str, streaming: bool) -> Hub:
        assert name == "de-en"
        assert streaming == (path == "wmt/wmt15"), "wmt15's training text is not needed"
        self.asked.append((path, split))
        if self.fault:
            raise self.fault
        self.rows = [{"en": en, "de": de} for en, de in self.splits[path, split]]
        return self

    def iter(self, batch_size: int) -> Iterator[dict[str, list[dict[str, str]]]]:
        for start in range(0, len(self.rows), 7):
            yield {"translation": self.rows[start : start + 7]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    stand_for_datasets(hub.load_dataset, monkeypatch)
    return hub


def test_raw_text_comes_from_the_hub_once(hub: Hub) -> None:
    """Catches newstest2016 as validation set, as the hub has it, and a second reading."""
    for _ in range(2):
        corpus = Wmt17Raw()
        corpus.prepare()
        assert not corpus.tokenized
        assert list(corpus.pairs("train")) == TRAIN
        assert list(corpus.pairs("val")) == VAL
        assert list(corpus.pairs("newstest2016")) == DEV[2016]
    assert sorted(hub.asked) == sorted(Hub.SPLITS)
    assert Wmt17Raw().fingerprint() == corpus.fingerprint()


def test_line_breaks_inside_a_row_do_not_shift_the_pairs(hub: Hub) -> None:
    """Catches one row that becomes two lines."""
    hub.splits["wmt/wmt17", "train"] = [("a\nb", "c"), ("d", "e\r\nf"), ("g", "")]
    corpus = Wmt17Raw()
    corpus.prepare()
    assert list(corpus.pairs("train")) == [("a b", "c"), ("d", "e  f"), ("g", "")]


def test_another_text_on_the_hub_is_refused(hub: Hub) -> None:
    """Catches a corpus that changes between two machines."""
    corpus = Wmt17Raw()
    corpus.prepare()
    (cache_root() / "downloads" / "wmt17-raw" / "train.en").unlink()
    hub.splits["wmt/wmt17", "train"] = TRAIN[1:]
    with pytest.raises(UserError, match=r"train\.en: was not what the hub.* first sent"):
        corpus.prepare()
    hub.splits["wmt/wmt17", "train"] = TRAIN
    corpus.prepare()
    assert list(corpus.pairs("train")) == TRAIN


def test_a_hub_out_of_reach_is_one_line(hub: Hub) -> None:
    """Catches a traceback of the hub client."""
    hub.fault = ConnectionError("no route")
    with pytest.raises(UserError, match=r"wmt/wmt17 \(de-en, train\): could not be read .*no rou"):
        Wmt17Raw().prepare()


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an ImportError without a remedy."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets.*qvbench\[hub\]"):
        Wmt17Raw().prepare()
