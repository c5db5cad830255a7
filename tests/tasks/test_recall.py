"""Recall from a config to a record: what is scored, that it is learned, resumed, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from qvbench.cli.main import main

CONFIG: dict[str, Any] = {
    "task": "recall",
    "model": {
        "attention": "QV",
        "position": "RoPE",
        "network": {
            "class_path": "DecoderOnly",
            "init_args": {"d_model": 32, "num_heads": 2, "layers": 2, "ffn_dim": 64},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0}},
        "schedule": {"class_path": "Cosine", "init_args": {"peak": 0.01, "final": 0.001}},
    },
    "data": {
        "corpus": {
            "class_path": "AssociativeRecall",
            "init_args": {"pairs": 2, "length": 8, "vocab_size": 16, "val_examples": 500},
        },
        "max_tokens": 512,
    },
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 300,
        "log_every_n_steps": 20,
        "val_check_interval": 150,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
    },
}
CONFIG["data"]["corpus"]["init_args"]["train_examples"] = 4000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a config, ``recall.yaml``."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QVBENCH_RUN_FOLDER", "")
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path / "cache"))
    Path("recall.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(command: str, *args: str) -> int:
    return main([command, "--config", "recall.yaml", *args])


@pytest.mark.slow
def test_recall_is_learned_and_recorded(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches filler that counts as an answer, a network that sees the answers, or guesses among
    the two values; loss taken for the metric, and bits per byte of what is no text."""
    assert run("fit") == 0, capsys.readouterr().err
    found = json.loads((here / "runs/recall/seed-0/run.json").read_text())
    assert (found["mechanism"], found["corpus"]) == ("qv", "associative_recall")
    metric, values = found["primary_metric"], found["metrics"]
    assert (metric["name"], metric["higher_is_better"]) == ("val/accuracy", True)
    assert "val/bits_per_byte" not in values
    assert values["val/accuracy"] > 60
    with np.load(here / "runs/recall/seed-0/sentences.npz") as counts:
        assert (counts["tokens"] == 2).all()
        assert len(counts["tokens"]) == 500
        assert 100 * counts["last_right"].sum() / 1000 == pytest.approx(values["val/accuracy"])
    capsys.readouterr()
    assert run("validate", "--ckpt_path", "last") == 0
    assert f"{values['val/accuracy']:.6g} %" in capsys.readouterr().out


def test_what_does_not_fit_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a traceback, or a search for places that are not there; a corpus of another task
    that is offered; and sequences beyond the positions, found once they are drawn."""
    learned = '{"class_path": "Learned", "init_args": {"max_length": 7}}'
    for key, value, message in (
        ("model.position", learned, "data: context of 8 tokens is longer than the 7 positions of"),
        ("data.corpus.pairs", "3", "3 pairs and a query of each take 12 tokens; length is 8"),
        ("data.corpus.vocab_size", "5", "vocab_size=5 has 1 keys for 2 pairs; give 6 at least"),
        ("data.val_split", "test", "val_split=test: no such set; known are val, selection"),
        ("data.corpus", "Grammar", "known are: AssociativeRecall, Copying, Induction, Modifiers"),
    ):
        assert run("fit", f"--{key}", value) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (here / "cache").exists()
