"""A run small enough for a test: a hundred grammar pairs, a network of a few thousand weights."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from qvbench.cli.experiment import Experiment
from qvbench.cli.main import main
from qvbench.models.facts import recorded_flops
from qvbench.training import record

TINY_CONFIG = {
    "seed_everything": 3,
    "model": {
        "attention": "attention/qvka.yaml",
        "position": "AGF",
        "network": {
            "class_path": "EncoderDecoder",
            "init_args": {
                "d_model": 16,
                "num_heads": 2,
                "ffn_dim": 16,
                "encoder_layers": 1,
                "decoder_layers": 1,
            },
        },
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}},
        "beam_size": 1,
    },
    "data": {
        "corpus": {
            "class_path": "Grammar",
            "init_args": {"train_pairs": 100, "val_pairs": 10, "test_pairs": 10},
        },
        "merges": 200,
        "max_tokens": 256,
    },
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 6,
        "log_every_n_steps": 2,
        "val_check_interval": 3,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "callbacks": [
            {
                "class_path": "ModelCheckpoint",
                "init_args": {"save_last": True, "monitor": "val/loss", "filename": "best"},
            }
        ],
    },
}
MECHANISM = {"class_path": "QVKa", "init_args": {"context_dim": 8, "context": "per_head"}}


def task_on_meta(experiment: Experiment, entries: int = 36_000) -> Any:
    """An experiment's task with its network, which takes no memory."""
    task = experiment.build().model
    with torch.device("meta"):
        task.network = task.build_network(entries)
    return task


class Answer(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str


FLOPS: dict[str, Any] = {}


def flops_once(network: Any) -> Any:
    """What the record says of a network, counted once for all networks of these shapes: counting
    takes longer than training one of this size. tests/models/test_flops.py counts every kind."""
    shapes = [(name, parameter.shape) for name, parameter in network.named_parameters()]
    key = f"{network} {shapes}"
    if key not in FLOPS:
        FLOPS[key] = recorded_flops(network)
    return FLOPS[key]


@pytest.fixture(autouse=True)
def _own_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One thread, a cache of the tests' own, and no run folder left over from another test."""
    monkeypatch.setattr(record, "recorded_flops", flops_once)
    torch.set_num_threads(1)
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("QVBENCH_CACHE", str(cache))
    monkeypatch.setenv("QVBENCH_RUN_FOLDER", "")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(here: Path) -> Path:
    """``tiny.yaml`` in the current folder, its mechanism in a fragment of its own."""
    (here / "attention").mkdir()
    (here / "attention" / "qvka.yaml").write_text(yaml.safe_dump(MECHANISM))
    file = here / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY_CONFIG))
    return file


@pytest.fixture
def qvbench() -> Callable[..., Answer]:
    """The command, in this process."""

    def run(*words: str) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(words)
        return Answer(status, out.getvalue(), err.getvalue())

    return run
