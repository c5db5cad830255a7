"""Which checkpoint `--ckpt_path last` means, and which one a requeued job goes on from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qvbench.errors import UserError
from qvbench.runs.folder import LAST, PREVIOUS
from qvbench.training.checkpoints import SafeCheckpointIO, checkpoint_of_job, last_checkpoint


def run(base: Path, name: str, *steps: int, at: int = 0, **record: Any) -> Path:
    """The folder of a run with checkpoints, last active at a time."""
    folder = base / "runs" / "tiny" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    (folder / "run.json").write_text(json.dumps(record))
    io = SafeCheckpointIO()
    for step in steps:
        content = {"global_step": step, "optimizer_states": [], "qvbench": {}}
        content["pytorch-lightning_version"] = "2.6"
        io.save_checkpoint(content, folder / "checkpoints" / LAST)
    for file in [folder / "config.yaml", *folder.glob("checkpoints/*")]:
        os.utime(file, (at, at + (file.name == LAST)))
    return folder


def test_the_newest_of_the_newest_run(tmp_path: Path) -> None:
    """Catches the run of another seed, an older run that was numbered higher, and a newer one that
    was refused before it began."""
    resumed = run(tmp_path, "seed-1", 100, 200, at=50)
    run(tmp_path, "seed-1-2", 100, at=30)
    run(tmp_path, "seed-10", 100, at=90)
    (run(tmp_path, "seed-1-3", at=90) / "run.json").unlink()
    assert last_checkpoint(tmp_path, "tiny", 1) == resumed / "checkpoints" / LAST


def test_a_damaged_one_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "qvbench")
    folder = run(tmp_path, "seed-1", 100, 200)
    file = folder / "checkpoints" / LAST
    file.write_bytes(file.read_bytes()[:-9])
    assert last_checkpoint(tmp_path, "tiny", 1) == folder / "checkpoints" / PREVIOUS
    assert f"{file}: not a checkpoint, or damaged" in caplog.text


def test_killed_before_its_first_checkpoint(tmp_path: Path) -> None:
    """Catches a run that goes on with another run's weights, or a traceback."""
    with pytest.raises(UserError, match=r"no checkpoint last\.ckpt under.*without --ckpt_path"):
        last_checkpoint(tmp_path, "tiny", 1)
    run(tmp_path, "seed-1", 100, at=10)
    run(tmp_path, "seed-1-2", at=20)
    with pytest.raises(UserError, match=r"seed-1-2: ended before its first checkpoint"):
        last_checkpoint(tmp_path, "tiny", 1)


def test_a_requeued_job_goes_on_with_its_own_run(tmp_path: Path) -> None:
    """Catches a job that takes up what another job of the same config has written."""
    run(tmp_path, "seed-1", 100, slurm_job="6", at=90)
    own = run(tmp_path, "seed-1-2", 100, slurm_job="7")
    assert checkpoint_of_job(tmp_path, "tiny", 1, "7") == own / "checkpoints" / LAST
    assert checkpoint_of_job(tmp_path, "tiny", 1, "8") is None
