"""The loggers beside the local record: where they write, what they get, and that none blocks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import Logger, WandbLogger

from qvbench.training import tracking
from qvbench.training.curves import CurvesLogger
from qvbench.training.wandb_account import has_wandb_key
from tests.cli.conftest import Answer

Command = Callable[..., Answer]


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a W&B account: no key, no netrc, no settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    # what is set here is unset again; WandbLogger sets the mode for the whole process
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_MODE")


def with_loggers(config: Path, *loggers: dict[str, Any]) -> None:
    content = yaml.safe_load(config.read_text())
    content["trainer"]["logger"] = list(loggers)
    config.write_text(yaml.safe_dump(content))


def test_tensorboard_writes_into_the_runs_folder(tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches lightning_logs/ in the current folder, and curves.csv replaced by another logger."""
    arguments = {"save_dir": "."}
    with_loggers(tiny, {"class_path": "TensorBoardLogger", "init_args": arguments})
    answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 0, answer.err
    folder = here / "runs" / "tiny" / "seed-3"
    assert list(folder.glob("tensorboard/events.*"))
    assert (folder / "curves.csv").exists()
    assert sorted(entry.name for entry in here.iterdir()) == ["attention", "runs", "tiny.yaml"]


def test_wandb_without_an_account_goes_offline(
    tiny: Path, here: Path, qvbench: Command, nobody: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a prompt for a key that waits for ever, and a crash where there is no terminal."""
    arguments = {"project": "qvbench", "save_dir": ".", "log_model": "all"}
    with_loggers(tiny, {"class_path": "WandbLogger", "init_args": arguments})
    with caplog.at_level(logging.WARNING, logger="qvbench"):
        answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 0, answer.err
    assert "no API key found" in caplog.text
    assert "wandb sync " in answer.out
    runs = list((here / "runs" / "tiny" / "seed-3" / "wandb").glob("offline-run-*"))
    assert len(runs) == 1
    assert wandb.run is None  # the next run of this process gets one of its own
    saved = yaml.safe_load((here / "runs" / "tiny" / "seed-3" / "config.yaml").read_text())
    assert saved["trainer"]["logger"][0]["init_args"]["offline"] is False  # as asked for


def test_a_key_means_online(nobody: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Catches a user with an account whose runs stay offline: by today's host or the older one."""
    assert not has_wandb_key()
    for host in (urlsplit(wandb.Settings().base_url).netloc, "api.wandb.ai"):
        (tmp_path / "netrc").write_text(f"machine {host} login user password secret\n")
        (tmp_path / "netrc").chmod(0o600)
        assert has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_wandb_key()


def test_a_network_that_fails_does_not_stop_the_run(
    nobody: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a run that dies because the tracker's server is away."""
    modes: list[str | None] = []

    def init(**settings: Any) -> object:
        modes.append(os.environ.get("WANDB_MODE"))
        if len(modes) == 1:
            raise wandb.errors.CommError("no route to host\ndetails")
        return object()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    tracking._open_wandb(WandbLogger(save_dir=str(tmp_path)))
    assert modes == [None, "offline"]
    assert "no route to host; this run is kept offline" in caplog.text


class Remembering(Logger):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}

    name = "remembering"
    version = ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.config.update(params)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass


def test_every_logger_gets_the_whole_config(tmp_path: Path) -> None:
    """Catches W&B runs that know the model's settings but not the data's."""
    logger = Remembering()
    tracking.open_runs([CurvesLogger(tmp_path), logger], {"model": {"a": 1}, "data": {"b": 2}})
    assert logger.config == {"model": {"a": 1}, "data": {"b": 2}}
