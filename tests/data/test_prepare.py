"""``qvbench prepare``: what it would do, what it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.cli.main import main
from qvbench.data.cache import cache_root
from qvbench.data.corpora import Text, Wmt17, Wmt17Raw
from qvbench.data.corpora.files import read_pairs
from qvbench.data.language import LanguageDataModule
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError
from tests.data.conftest import write_pair
from tests.data.http_server import serving
from tests.data.wmt17_files import from_grammar, published

Make = Callable[..., TranslationDataModule]


def test_a_plan_names_every_step_and_does_none() -> None:
    """Catches a dry run that fetches, and a plan that leaves a filter out."""
    train, dev = from_grammar(50)
    with serving() as server:
        server.files = {f"/{name}": data for name, data in published(train, dev).items()}
        module = TranslationDataModule(
            Wmt17(url=server.url), merges=100, max_length=40, max_ratio=3, max_vocabulary=800
        )
        said = module.plan()
        assert server.paths == []
        assert not list(cache_root().iterdir())
        for step in (
            f"would fetch wmt17 into {cache_root()}",
            "merges=100, max_length=40, max_ratio=3, max_vocabulary=800",
            "store the ids of train, val, newstest2016 in the cache",
        ):
            assert step in said
        assert "tokenize" not in said
        module.prepare_data()
        assert module.plan() == f"nothing to do: stored in {module.folder}"


def test_a_plan_for_raw_text_tokenizes(tmp_path: Path) -> None:
    """Catches a plan that leaves half the work out, or does it."""
    pair = write_pair(tmp_path, "pair", ["a b"] * 3, ["a b"] * 3)
    module = TranslationDataModule(
        Text(pair, pair, {"test": pair}), lowercase=True, cache_dir=str(tmp_path / "cache")
    )
    said = module.plan()
    assert "would normalize and tokenize" in said
    assert "would lower-case" in said
    assert f"in {module.folder}" in said
    assert not (tmp_path / "cache").exists()


def test_a_plan_names_what_a_language_model_stores() -> None:
    """Catches a second test set, of which no ids are kept."""
    said = LanguageDataModule(Wmt17Raw()).plan()
    assert "would store the ids of train, val, newstest2016 in the cache" in said


def test_a_plan_finds_a_missing_file(tmp_path: Path) -> None:
    """Catches a plan for hours of work that ends with a missing file."""
    with pytest.raises(UserError, match=r"corpus\.tc\.en: no such file"):
        TranslationDataModule(Wmt17(str(tmp_path))).plan()


def test_the_account_adds_up(data_module: Make, tmp_path: Path) -> None:
    """Catches counts of another split or side, and reasons that are left out."""
    source = ["man dog"] * 5 + ["man " * 30, "dog", "", "man"]
    target = ["man dog"] * 5 + ["man " * 30, "dog " * 9, "man", "\t"]
    train = write_pair(tmp_path, "crawl", source, target)
    dev = write_pair(tmp_path, "dev", ["man dog"] * 4, ["dog man"] * 4)

    class Crawled(Text):
        def pairs(self, split: str):  # type: ignore[no-untyped-def]
            return read_pairs(*self.files[split], allow_empty=True)

    corpus = Crawled(train, dev, {"test": dev}, tokenized=True)
    module = data_module(corpus=corpus, max_length=20, max_ratio=4)
    assert module.store.manifest["splits"]["train"]["dropped"] == {
        "over 20 subwords": 1,
        "over a length ratio of 4": 1,
        "empty on a side": 2,
    }
    assert module.store.manifest["splits"]["val"]["dropped"] == {}
    entry = module.store.manifest["splits"]["train"]
    assert entry["read"] == 9 == entry["pairs"] + sum(entry["dropped"].values())
    train_split = module.split("train")
    assert entry["source"]["subwords"] == len(train_split.source.ids)
    said = module.describe()
    for line in ("train: 5 pairs", "2 empty on a side", f"data fingerprint: {module.fingerprint}"):
        assert line in said


@pytest.mark.slow
def test_the_command_plans_and_prepares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches an option that the command line does not pass on."""
    args = ["--config", "tiny/qv.yaml", "--data.cache_dir", str(tmp_path / "cache")]
    args += ["--data.corpus.init_args.train_pairs", "200", "--data.merges", "100"]

    def run(*more: str) -> str:
        assert main(["prepare", *args, *more]) == 0
        return capsys.readouterr().out

    assert "merges=100" in run("--dry_run")
    assert not (tmp_path / "cache").exists()
    assert "stored in" in run()
    assert "nothing to do" in run("--dry_run")
