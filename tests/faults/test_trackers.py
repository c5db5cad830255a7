"""A tracker that fails, hangs or cannot be reached stops no run and holds none up."""

from __future__ import annotations

import copy
import functools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import Logger

from qvbench.training import trackers
from qvbench.training.trackers import AsyncLogger
from tests.cli.conftest import MECHANISM, TINY_CONFIG, Answer

Command = Callable[..., Answer]
ROOT = Path(__file__).parents[2]


class Tracker(Logger):
    """Keeps what it is given; fails at the call of a number, or hangs there until it is let go."""

    name = "tracker"
    version = ""

    def __init__(self, fail_at: int = -1, hang_at: int = -1) -> None:
        super().__init__()
        self.told: list[Any] = []
        self.fail_at, self.hang_at = fail_at, hang_at
        self.let_go = threading.Event()

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if len(self.told) == self.fail_at:
            raise ConnectionResetError("the service is gone\nand a page of details")
        if len(self.told) == self.hang_at:
            self.let_go.wait(60)
        self.told.append((dict(metrics), step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self.told.append(args)


def test_all_is_handed_on_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """Catches values that change after they were logged, and calls that overtake one another."""
    tracker = Tracker()
    logger = AsyncLogger(tracker)
    logger.log_hyperparams({"a": 1})
    values = {"x": 0.0}
    for step in range(100):
        values["x"] = float(step)
        logger.log_metrics(values, step)
    logger.close()
    assert tracker.told == [({"a": 1},), *[({"x": float(n)}, n) for n in range(100)]]
    assert not caplog.text


def test_a_failure_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Catches a run that dies of its tracker in mid-run, or a line of complaint for every step."""
    tracker = Tracker(fail_at=2)
    logger = AsyncLogger(tracker)
    with caplog.at_level(logging.WARNING, logger="qvbench"):
        for step in range(20):
            logger.log_metrics({"x": 1.0}, step)
        logger.close()
    assert len(tracker.told) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("Tracker: the service is gone; the run continues without")
    assert "\n" not in record.getMessage()


def test_a_tracker_that_hangs_holds_nobody_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a training that waits for its tracker at a step, or for ever at the end."""
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.3)
    tracker = Tracker(hang_at=1)
    logger = AsyncLogger(tracker)
    with caplog.at_level(logging.WARNING, logger="qvbench"):
        for step in range(1000):
            logger.log_metrics({"x": 1.0}, step)
        logger.close()
    assert "no answer within 0.3 seconds; the run continues without it" in caplog.text
    tracker.let_go.set()


# Weights & Biases


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user with a key, who is alone in this process."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_MODE", "WANDB_INIT_TIMEOUT", "WANDB_FINISH_TIMEOUT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(wandb, "teardown", lambda *_: None)
    monkeypatch.setattr(wandb, "run", None)


def with_wandb(config: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["trainer"]["logger"] = {"class_path": "WandbLogger", "init_args": {"save_dir": "."}}
    config.write_text(yaml.safe_dump(content))


class Run(SimpleNamespace):
    """W&B's run, as far as Lightning asks for it."""

    def __init__(self, log: Callable[..., None], folder: str) -> None:
        values = SimpleNamespace(update=lambda *_, **__: None)
        super().__init__(log=log, id="x", name="x", dir=folder, offline=False, tags=())
        self.config = self.summary = values


def refuse(*_: Any, **__: Any) -> Any:
    raise ConnectionError("no route to host\ndetails")


def say_nothing(*_: Any, **__: Any) -> None:
    time.sleep(60)


def ignore(*_: Any, **__: Any) -> None:
    pass


FAULTS: dict[str, tuple[Any, Any, Any, str]] = {
    "nowhere to be opened": (refuse, ignore, ignore, "no route to host"),
    "an opening that hangs": (say_nothing, ignore, ignore, "no answer within 1 seconds"),
    "a log that fails": (None, refuse, ignore, "no route to host"),
    "a log that hangs": (None, say_nothing, ignore, "no answer within 1 seconds"),
    "an end that fails": (None, ignore, refuse, "no route to host"),
    "an end that hangs": (None, ignore, say_nothing, "no answer within 1 seconds"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_is_complete_without_wandb(
    fault: str,
    tiny: Path,
    here: Path,
    qvbench: Command,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Catches every way in which W&B has ended a training, and a missing word about it."""
    init, log, finish, said = FAULTS[fault]
    opened = Run(log, str(here / "wandb" / "run-1" / "files"))
    opens = functools.wraps(wandb.init)(init or (lambda **_: opened))  # the parser reads these
    monkeypatch.setattr(wandb, "init", opens)
    monkeypatch.setattr(wandb, "finish", finish)
    monkeypatch.setattr(wandb, "run", opened)
    if init is not None:
        monkeypatch.setattr(wandb, "run", None)
    else:
        monkeypatch.setattr(AsyncLogger, "_later", lambda _: "; to upload: wandb sync the-run")
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 1.0 if "hangs" in fault else 60.0)
    with_wandb(tiny)
    with caplog.at_level(logging.WARNING, logger="qvbench"):
        answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 0, answer.err
    folder = here / "runs" / "tiny" / "seed-3"
    assert "val/accuracy" in (folder / "curves.csv").read_text().splitlines()[-4]
    assert '"finished"' in (folder / "run.json").read_text()
    complaints = [r.getMessage() for r in caplog.records if "the run continues" in r.getMessage()]
    assert len(complaints) == 1, caplog.text
    assert said in complaints[0]
    if init is None:
        assert "to upload: wandb sync" in complaints[0]


REAL_FITS = """
import gc, json, os, signal, sys
from pathlib import Path
import wandb
from qvbench.cli import fit  # what takes longest, once for all
from qvbench.cli.main import main

gc.freeze()  # else a process copies all of this memory when it ends
folders = {}
for folder, environment in json.loads(sys.argv[1]).items():
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        os.chdir(folder)
        os.environ.update(environment)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        sys.exit(main(["fit", "--config", "tiny.yaml"]))
    folders[child] = Path(folder)
for _ in folders.copy():
    child, status = os.wait()
    (folders[child] / "status").write_text(str(os.waitstatus_to_exitcode(status)))
"""


@pytest.fixture(scope="module")
def real_fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs with W&B as it is installed, in processes that leave Python as any does, side
    by side after one import: one whose server takes connections and never says a word, one that
    kills W&B's own process. 100 seconds end a run."""
    logger = {"class_path": "WandbLogger", "init_args": {"save_dir": "."}}
    kill = {"class_path": "tests.faults.injected.KillService"}
    runs = {name: tmp_path_factory.mktemp(name) for name in ("silent", "killed")}
    for name, folder in runs.items():
        config = copy.deepcopy(TINY_CONFIG)
        config["model"]["attention"] = MECHANISM
        config["trainer"]["logger"] = logger
        if name == "killed":
            config["trainer"]["max_steps"] = 30
            config["trainer"]["callbacks"].append(kill)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = {
            "WANDB_BASE_URL": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "WANDB_API_KEY": "0" * 40,
            "WANDB_INIT_TIMEOUT": "3",
            "WANDB_FINISH_TIMEOUT": "3",
            "WANDB_ERROR_REPORTING": "false",  # to its makers, whom not every machine reaches
        }
        environments = {str(runs["silent"]): silent, str(runs["killed"]): {"WANDB_MODE": "offline"}}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        home = str(tmp_path_factory.mktemp("home"))
        subprocess.run(
            [sys.executable, "-c", REAL_FITS, json.dumps(environments)],
            env={
                **kept,
                **{"PYTHONPATH": str(ROOT), "HOME": home, "QVBENCH_CACHE": home},
                **{"QVBENCH_RUN_FOLDER": "", "WANDB_SILENT": "true"},
            },
            check=True,
        )
    return runs


@pytest.mark.slow
@pytest.mark.integration
def test_a_server_that_never_answers(real_fits: dict[str, Path]) -> None:
    """Catches a wait without end, by W&B itself, in opening a run and in leaving Python."""
    folder = real_fits["silent"]
    said = (folder / "stderr").read_text()
    assert (folder / "status").read_text() == "0", said
    assert said.count("this run is kept offline") == 1
    assert "wandb sync " in (folder / "stdout").read_text()
    assert (folder / "runs" / "tiny" / "seed-3" / "curves.csv").is_file()


@pytest.mark.slow
@pytest.mark.integration
def test_a_service_that_is_killed(real_fits: dict[str, Path]) -> None:
    """Catches a training that W&B's own process takes with it."""
    folder = real_fits["killed"]
    said = (folder / "stderr").read_text()
    assert (folder / "status").read_text() == "0", said
    curves = (folder / "runs" / "tiny" / "seed-3" / "curves.csv").read_text()
    assert curves.splitlines()[-1].split(",")[0] == "30"
    assert "killed W&B's service" in (folder / "stdout").read_text()
    assert "Traceback" not in said.split("the run continues")[0], said
