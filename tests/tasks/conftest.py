"""A small real run: Lightning's trainer around the task, on a few sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from qvbench.attention import ATTENTION
from qvbench.data.corpora import Files, Text
from qvbench.data.language import LanguageDataModule
from qvbench.data.translation import TranslationDataModule
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS
from qvbench.tasks.language_modeling import LanguageModelingTask
from qvbench.tasks.translation import TranslationTask
from qvbench.training.schedules import Constant

WORDS = ("ein", "haus", "steht", "am", "see", "und", "der", "alte", "hund", "schläft", "vor", "tor")


def write_corpus(folder: Path, pairs: int) -> Text:
    """Pairs of very different lengths, so that batches differ in their target tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(1 + i % 9)) for i in range(pairs)]
    for side in ("en", "de"):
        turned = lines if side == "en" else [" ".join(reversed(x.split())) for x in lines]
        (folder / side).write_text("\n".join(turned) + "\n", encoding="utf-8")
    files = (str(folder / "en"), str(folder / "de"))
    return Text(train=files, val=files, test={"test": files}, tokenized=True)


def parts_of_task(network_class: Any, dropout: float, **sizes: int) -> dict[str, Any]:
    """What a task is made of, whose network starts on the same weights in every process."""

    def network(**parts: Any) -> Any:
        torch.manual_seed(0)  # here: a strategy of several devices seeds anew before it builds
        names = ("dropout", "attention_dropout", "ffn_dropout")
        sizes_of_all = {"d_model": 16, "num_heads": 2, "ffn_dim": 24, **sizes}
        return network_class(**parts, **sizes_of_all, **dict.fromkeys(names, dropout))

    return {
        "attention": functools.partial(ATTENTION["qvka"]),
        "position": functools.partial(POSITIONS["agf"], value_scaling=True),
        "network": network,
        "optimizer": functools.partial(torch.optim.Adam, lr=1.0),
        "schedule": Constant(0.01),
    }


def make_task(dropout: float = 0.0, **settings: Any) -> TranslationTask:
    parts = parts_of_task(EncoderDecoder, dropout, encoder_layers=1, decoder_layers=1)
    return TranslationTask(**parts, **settings)


def make_language_task(dropout: float = 0.0) -> LanguageModelingTask:
    return LanguageModelingTask(**parts_of_task(DecoderOnly, dropout, layers=2))


def make_data(folder: Path, pairs: int = 24, **settings: Any) -> TranslationDataModule:
    """The data module of some pairs below a folder."""
    corpus = write_corpus(folder / f"text{pairs}", pairs)
    defaults = {"max_tokens": 40, "merges": 20, "cache_dir": str(folder / "cache")}
    return TranslationDataModule(corpus, **{**defaults, **settings})


def make_language_data(folder: Path, pairs: int = 24, **settings: Any) -> LanguageDataModule:
    """The source side of the same as a text, half of it to validate on."""
    write_corpus(folder / f"text{pairs}", pairs)
    file, test = (str(folder / f"text{pairs}" / name) for name in ("en", "test"))
    Path(test).write_text("der alte hund schläft vor dem tor\n" * pairs, encoding="utf-8")
    defaults = {"max_tokens": 40, "context": 8, "cache_dir": str(folder / "cache")}
    corpus = Files([file], val_fraction=0.5, test=[test])
    return LanguageDataModule(corpus, "bytes", **{**defaults, **settings})


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., TranslationDataModule]:
    """Builds the data module of 24 pairs; keyword arguments as for the module."""
    return functools.partial(make_data, tmp_path)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Builds a trainer that prints nothing; keyword arguments as for Lightning's."""

    def build(**settings: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "use_distributed_sampler": False,
            "default_root_dir": tmp_path,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
        }
        return Trainer(**{**defaults, **settings})

    return build
