"""A small corpus on disk, and a data module over it."""

from __future__ import annotations

import os
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tests fork workers after tokenizing

from qvbench.data.corpora import Text
from qvbench.data.translation import TranslationDataModule

WORDS = (
    "man woman dog child bird street house tree field ball river mountain "
    "sees finds likes follows greets paints knows draws"
)


def sentences(count: int, seed: int, longest: int = 12) -> list[str]:
    """Deterministic token sequences of many lengths."""
    draw, words = random.Random(seed), WORDS.split()
    return [
        " ".join(draw.choice(words) for _ in range(draw.randint(1, longest))) for _ in range(count)
    ]


def write_pair(folder: Path, name: str, source: list[str], target: list[str]) -> tuple[str, str]:
    """Two line-aligned files; returns their paths."""
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for path, lines in zip(paths, (source, target), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(paths[0]), str(paths[1])


def stand_for_datasets(
    load_dataset: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the package ``datasets`` be one function."""
    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Catches nothing: keeps what tests fetch and remember out of the user's cache."""
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def text_corpus(tmp_path: Path) -> Callable[..., Text]:
    """Makes a tokenized Text corpus; settings replace the defaults."""

    def make(pairs: int = 120, **settings: object) -> Text:
        files = {
            split: write_pair(tmp_path, split, sentences(count, seed), sentences(count, seed + 1))
            for seed, (split, count) in enumerate([("train", pairs), ("val", 17), ("test", 13)])
        }
        defaults: dict[str, object] = {
            "train": files["train"],
            "val": files["val"],
            "test": {"test": files["test"]},
            "tokenized": True,
        }
        return Text(**(defaults | settings))  # type: ignore[arg-type]

    return make


@pytest.fixture
def data_module(
    text_corpus: Callable[..., Text], tmp_path: Path
) -> Callable[..., TranslationDataModule]:
    """Makes a data module over the small corpus, with a cache of its own; set up already."""

    def make(pairs: int = 120, **settings: object) -> TranslationDataModule:
        defaults: dict[str, object] = {
            "corpus": text_corpus(pairs),
            "max_tokens": 100,
            "merges": 50,
            "eval_max_tokens": 60,
            "cache_dir": str(tmp_path / "cache"),
        }
        module = TranslationDataModule(**(defaults | settings))  # type: ignore[arg-type]
        module.setup()
        return module

    return make
