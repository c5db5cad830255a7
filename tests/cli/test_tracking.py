"""The loggers beside the local record: where they write, what they get, and that none blocks."""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
import wandb
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import Logger, WandbLogger
from wandb.proto import wandb_internal_pb2

from qvbench.runs.record import SWEEP_VARIABLE, has_wandb_key
from qvbench.training import trackers
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


@pytest.mark.slow
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


@pytest.mark.integration
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


def records_of(folder: Path) -> Iterator[Any]:
    """What W&B has written to its file, record by record: LevelDB's log after 7 bytes of its own.

    A block of 32 KiB holds chunks: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3:
    middle, 4: last), data; a rest of up to 6 bytes stays empty.
    """
    (file,) = folder.glob("*.wandb")
    content, place, data = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(data)  # type: ignore[attr-defined]
            data = b""


def values(items: Any) -> dict[str, Any]:
    """Keys and values of a message of W&B's; nested keys with slashes between."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.integration
def test_wandb_has_what_runs_are_compared_by(
    tiny: Path, here: Path, qvbench: Command, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches runs that cannot be grouped, filtered or drawn over tokens and time while they are
    trained, and a record that does not say which run on W&B is its own."""
    monkeypatch.setenv(SWEEP_VARIABLE, json.dumps({"suite": "paper", "variant": "qvka_agf"}))
    arguments = {"project": "qvbench", "save_dir": ".", "offline": True}
    with_loggers(tiny, {"class_path": "WandbLogger", "init_args": arguments})
    answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 0, answer.err
    wandb.teardown()  # its own process writes; it is done when that has ended
    folder = here / "runs" / "tiny" / "seed-3"
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for record in records_of(next((folder / "wandb").glob("offline-run-*"))):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= values(run.config.update)
        elif kind == "config":
            config |= values(record.config.update)
        elif kind == "summary":
            summary |= values(record.summary.update)
        elif kind == "history":
            history.append(values(record.history.item))
    kept = json.loads((folder / "run.json").read_text())
    assert (run.run_group, run.job_type) == ("tiny", "train")
    assert sorted(run.tags) == ["agf", "grammar", "paper", "qvka", "qvka_agf"]
    assert kept["wandb_id"] == run.run_id
    assert config["size"] == kept["parameters"]["total"]
    assert config["suite"] == "paper"
    for key in ("mechanism", "position", "corpus", "seed", "variant"):
        assert config[key] == kept[key], key
    assert config["model"]["network"]["init_args"]["d_model"] == 16
    for key in ("parameters/total", "flops_per_target_token/train", "cache_per_token/self"):
        name, part = key.split("/")
        assert summary[key] == kept[name][part], key
    logged = [row for row in history if "val/accuracy" in row]
    assert [row["target_tokens"] for row in logged][-1] == kept["target_tokens"]
    assert 0 < logged[0]["seconds"] < logged[-1]["seconds"]


def test_a_resumed_run_goes_on_in_its_wandb_run(nobody: None, tmp_path: Path) -> None:
    """Catches curves in two halves, each a run of its own; and tests that overwrite a training."""

    def chosen(job_type: str) -> str:
        given = Namespace(save_dir=".", name=None, version=None, offline=True)
        logger = Namespace(class_path="WandbLogger", init_args=given)
        settings = Namespace(trainer=Namespace(logger=logger))
        trackers.configure(settings, tmp_path, "tiny", job_type)
        return str(given.version)

    first = chosen("train")
    assert first != chosen("train")
    (tmp_path / "run.json").write_text(json.dumps({"wandb_id": first}))
    assert chosen("train") == first
    assert chosen("test") != first


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
    trackers._open_wandb(WandbLogger(save_dir=str(tmp_path)))
    assert modes == [None, "offline"]
    assert "no route to host; this run is kept offline" in caplog.text


def test_every_logger_gets_the_whole_config() -> None:
    """Catches W&B runs that know the model's settings but not the data's."""
    config, logger = {"model": {"a": 1}, "data": {"b": 2}}, Mock(Logger)
    trackers.close_runs(trackers.open_runs([logger], config))
    logger.log_hyperparams.assert_called_once_with(config)
