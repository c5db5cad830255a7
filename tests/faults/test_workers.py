"""What happens around a training: processes that die, files that go, disks that fill up."""

from __future__ import annotations

import errno
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping

from qvbench.errors import UserError
from qvbench.training.machine import explain
from tests.cli.conftest import Answer
from tests.cli.killing import run


def with_callback(config: Path, name: str) -> None:
    content = yaml.safe_load(config.read_text())
    content["trainer"]["callbacks"].append({"class_path": f"tests.faults.injected.{name}"})
    config.write_text(yaml.safe_dump(content))


@pytest.mark.slow
def test_a_killed_worker_is_one_line(
    tiny: Path, here: Path, qvbench: Callable[..., Answer]
) -> None:
    """Catches a training that waits for ever for a process that is gone, a traceback, and a record
    that does not say how the run ended where a second loader loses a process meanwhile."""
    with_callback(tiny, "KillWorkers")
    words = ["--data.num_workers", "2", "--trainer.max_steps", "400"]
    done = run(here, "fit", "--config", "tiny.yaml", *words)
    assert done.status == 2, done.text
    last = done.text.splitlines()[-1]
    # PyTorch names the signal unless the loader's queue tells of the end first.
    ends = ("was killed (signal: Killed)", "ended without a word")
    known = [f"qvbench: error: a process that prepares batches {end}; " for end in ends]
    assert last.startswith(tuple(known)), last
    assert "--data.num_workers" in last
    assert "Traceback" not in done.text
    assert "killed 2 more" in done.text
    folder = here / "runs" / "tiny" / "seed-3"
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["fault"]["kind"]) == ("failed", "worker")
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] >= 3
    again = qvbench(
        "fit", "--config", "tiny.yaml", "--ckpt_path", "last", "--trainer.max_steps", "3"
    )
    assert again.status == 0, again.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_store_that_is_removed_serves_the_runs_that_opened_it(
    tiny: Path,
    here: Path,
    qvbench: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    """Catches a cache that cannot be cleaned while something trains, on systems that map files, and
    processes that outlive the training they prepared batches for."""
    monkeypatch.setenv("QVBENCH_CACHE", str(here / "cache"))
    with_callback(tiny, "RemoveStore")
    answer = qvbench(
        "fit", "--config", "tiny.yaml", "--data.num_workers", workers, "--trainer.max_steps", "9"
    )
    assert answer.status == 0, answer.err
    assert not multiprocessing.active_children()
    assert not list((here / "cache").glob("grammar-*/*.bin"))
    again = qvbench("fit", "--config", "tiny.yaml")
    assert again.status == 0, again.err  # written anew


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "curves.csv")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "qvbench.training.record.CurvesLogger.log_metrics",
        "qvbench.training.record.write_record",
        "torch.save",
    ],
)
def test_a_disk_that_fills_up_is_one_line(
    place: str,
    tiny: Path,
    qvbench: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a traceback from whichever file of the run was the first not to fit."""
    monkeypatch.setattr(place, full)
    answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 2, answer.err
    last = answer.err.splitlines()[-1]
    kept = "the checkpoint before is as it was; " if place == "torch.save" else ""
    remedy = f"the disk is full; {kept}free some space, then go on with --ckpt_path last"
    assert remedy in last
    assert "Traceback" not in answer.err


EXPLAINED = {
    "worker killed": (
        RuntimeError("DataLoader worker (pid 123) is killed by signal: Killed. "),
        "was killed (signal: Killed)",
    ),
    "worker gone": (
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        "ended without a word",
    ),
    "CPU memory": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        "out of memory: lower --data.eval_max_tokens",
    ),
    "writer": (
        RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing"),
        "the folder of the run: the disk is full",
    ),
}


@pytest.mark.parametrize("case", EXPLAINED)
def test_what_the_user_can_mend_is_explained(case: str) -> None:
    error, said = EXPLAINED[case]
    assert said in str(explain(error))


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), OSError(errno.ENOENT, "no such file"), KeyError("a")]
)
def test_what_is_ours_is_not(error: Exception) -> None:
    """Catches an explanation that swallows a traceback that somebody needs."""
    assert explain(error) is None


def test_what_lightning_refuses_is_told_from_what_is_ours() -> None:
    """Catches a traceback for a metric that nobody logs, and a bug of ours taken for a setting."""
    with pytest.raises(RuntimeError) as theirs:
        EarlyStopping("val/nope")._validate_condition_metric({})
    said = "trainer: Early stopping conditioned on metric `val/nope` which is not available"
    assert str(explain(theirs.value)).startswith(said)
    with pytest.raises(ValueError, match="invalid literal") as ours:
        int("one")
    assert explain(ours.value) is None


def test_a_refused_setting_of_the_trainer_is_one_line(
    tiny: Path, here: Path, qvbench: Callable[..., Answer]
) -> None:
    """Catches a traceback for what only the data shows to be wrong, and a record that does not say
    how a run ended that failed before its first step."""
    words = ["--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1000"]
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith("qvbench: error: trainer: `val_check_interval` (1000) must be less")
    record = json.loads((here / "runs" / "tiny" / "seed-3" / "run.json").read_text())
    assert (record["status"], record["fault"]["kind"]) == ("failed", "trainer")
    assert record["fault"]["message"] in last


def test_a_line_for_the_user_stays_what_it_is() -> None:
    error = UserError("as it was")
    assert explain(error) is error
