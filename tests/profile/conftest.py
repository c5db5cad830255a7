"""Networks small enough to count in an instant, and the command in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from qvbench.attention import ATTENTION
from qvbench.cli.main import main
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS
from tests.pairs import D_MODEL, HEADS, Part

VOCABULARY = 23
CONFIG = {
    "model": {
        "attention": "QV",
        "position": "AGF",
        "network": {
            "class_path": "EncoderDecoder",
            "init_args": {
                "d_model": 16,
                "num_heads": 2,
                "ffn_dim": 24,
                "encoder_layers": 1,
                "decoder_layers": 2,
                "dropout": 0.1,
            },
        },
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}},
    },
    "data": {
        "corpus": {
            "class_path": "Grammar",
            "init_args": {"train_pairs": 100, "val_pairs": 10, "test_pairs": 10},
        },
        "merges": 200,
    },
    "trainer": {"precision": "bf16-mixed", "accelerator": "cpu"},
}


def build(mechanism: Part, scheme: Part, dropout: float = 0.1) -> EncoderDecoder:
    """Layers of encoder and decoder differ in number, so that none can stand for the other."""
    return EncoderDecoder(
        VOCABULARY,
        0,
        partial(ATTENTION[mechanism[0]], **mechanism[1]),
        partial(POSITIONS[scheme[0]], **scheme[1]),
        d_model=D_MODEL,
        num_heads=HEADS,
        ffn_dim=12,
        encoder_layers=1,
        decoder_layers=2,
        dropout=dropout,
        attention_dropout=dropout,
        ffn_dropout=dropout,
    )


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One thread, an empty cache, an empty folder."""
    torch.set_num_threads(1)
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "small_one.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file.name


@pytest.fixture
def profile(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Status, standard output and standard error of the command."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["profile", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
