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
from qvbench.data.corpora import Text
from qvbench.data.module import TranslationDataModule
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS
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


def make_task(dropout: float = 0.0, **settings: Any) -> TranslationTask:
    """A task whose network starts on the same weights in every process."""

    def network(**parts: Any) -> EncoderDecoder:
        torch.manual_seed(0)  # here: a strategy of several devices seeds anew before it builds
        return EncoderDecoder(
            **parts,
            d_model=16,
            num_heads=2,
            ffn_dim=24,
            encoder_layers=1,
            decoder_layers=1,
            dropout=dropout,
            attention_dropout=dropout,
            ffn_dropout=dropout,
        )

    return TranslationTask(
        attention=functools.partial(ATTENTION["qvka"]),
        position=functools.partial(POSITIONS["agf"], value_scaling=True),
        network=network,
        optimizer=functools.partial(torch.optim.Adam, lr=1.0),
        schedule=Constant(0.01),
        **settings,
    )


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., TranslationDataModule]:
    """Builds the data module of 24 pairs; keyword arguments as for the module."""

    def build(**settings: Any) -> TranslationDataModule:
        corpus = write_corpus(tmp_path / "text", 24)
        defaults = {"max_tokens": 40, "merges": 20, "cache_dir": str(tmp_path / "cache")}
        return TranslationDataModule(corpus, **{**defaults, **settings})

    return build


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
