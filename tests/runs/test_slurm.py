"""Slurm around a run, with its commands replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.runs.slurm import is_alive, requeue, slurm_job, was_requeued


def test_which_job_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an array's task taken for the array, and an interactive job that is requeued."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    assert slurm_job() == ""
    assert not was_requeued()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert slurm_job() == "7"
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert slurm_job() == ""
    monkeypatch.setenv("SLURM_JOB_NAME", "pair")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert slurm_job() == "6_2"
    for count in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        assert was_requeued() is (count == "1")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script in the place of a command; there are no others."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return write


def test_requeueing_asks_slurm(
    tmp_path: Path, install: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a wrong command, and a missing or failing scontrol that hides how the run ended."""
    caplog.set_level("INFO", "qvbench")
    requeue("7_2")
    install("scontrol", "echo no such job >&2; exit 1")
    requeue("7_2")
    assert caplog.text.count("could not be requeued") == 2
    assert "no such job" in caplog.text
    install("scontrol", f'echo "$@" > {tmp_path}/asked')
    requeue("7_2")
    assert (tmp_path / "asked").read_text() == "requeue 7_2\n"
    assert "Slurm job 7_2 is requeued" in caplog.text


@pytest.mark.parametrize(
    ("squeue", "alive"),
    [
        ("echo PENDING", True),
        ("true", False),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", False),
        ("echo Unable to contact slurm controller >&2; exit 1", True),
        (None, True),
    ],
)
def test_whether_a_job_is_alive(
    squeue: str | None, alive: bool, install: Callable[[str, str], None]
) -> None:
    """Catches a run that is started a second time while Slurm's controller is away."""
    if squeue is not None:
        install("squeue", squeue)
    assert is_alive("7_2") is alive
