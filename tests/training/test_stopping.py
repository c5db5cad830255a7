"""Signals, Slurm, and the curve of a run that is taken up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from qvbench.errors import UserError
from qvbench.tasks.checkpoint import check_same_model
from qvbench.training import stop_signals
from qvbench.training.curves import CurvesLogger
from qvbench.training.stop_signals import StoppedBySignal, StopSignals, slurm_job, was_requeued


def test_signals_are_kept_and_given_back() -> None:
    """Catches a handler that stays when training is over."""
    before = signal.getsignal(signal.SIGUSR1)
    signals = StopSignals()
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received == signal.SIGUSR1
    finally:
        signals.restore()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_second_ctrl_c_does_not_wait() -> None:
    signals = StopSignals()
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signals.restore()


def test_the_status_is_the_signals() -> None:
    assert StoppedBySignal(signal.SIGTERM, 3).code == 143


def test_which_job_this_is() -> None:
    assert slurm_job({}) == ""
    assert slurm_job({"SLURM_JOB_ID": "7"}) == "7"
    assert slurm_job({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "bash"}) == ""
    array = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    assert slurm_job(array) == "7_2"
    assert not was_requeued({})
    assert not was_requeued({"SLURM_RESTART_COUNT": "0"})
    assert was_requeued({"SLURM_RESTART_COUNT": "1"})


def test_requeueing_asks_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a wrong command, and a missing or failing scontrol that hides how the run ended."""
    caplog.set_level("INFO", "qvbench")
    monkeypatch.setenv("PATH", str(tmp_path))
    stop_signals.requeue("7_2")
    assert "could not be requeued" in caplog.text
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    stop_signals.requeue("7_2")
    assert (tmp_path / "asked").read_text() == "requeue 7_2\n"


# The curve


def curve(folder: Path) -> CurvesLogger:
    logger = CurvesLogger(folder)
    logger.start(0.0)
    return logger


def steps(logger: CurvesLogger) -> list[str]:
    return [line.split(",")[0] for line in logger.path.read_text().splitlines()[1:]]


def test_rows_after_the_checkpoint_go(tmp_path: Path) -> None:
    """Catches a row at the checkpoint's own step that is logged a second time, a row of a test
    that is lost, and half a line that spoils the file."""
    logger = curve(tmp_path)
    for step in (2, 4):
        logger.log_metrics({"train/loss": 1.0}, step)
    rows = logger.rows
    logger.log_metrics({"val/loss": 1.0}, 4)
    logger.log_metrics({"train/loss": 1.0}, 6)
    CurvesLogger(tmp_path).log_metrics({"test/bleu": 3.0})
    with logger.path.open("a") as file:
        file.write("8,0,10,0.5,train/lo")
    again = curve(tmp_path)
    again.forget_after(4, rows)
    assert steps(again) == ["2", "4", ""]
    assert again.rows == 3
    again.forget_after(2)
    assert steps(again) == ["2", ""]


@pytest.mark.parametrize("rest", ["8", "8,0,10,0.5,train/loss,0.123", "8,0,10", "\0\0"])
def test_half_a_line_is_no_row(tmp_path: Path, rest: str) -> None:
    logger = curve(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, 2)
    with logger.path.open("a") as file:
        file.write(rest)
    CurvesLogger(tmp_path).log_metrics({"test/bleu": 3.0})
    assert steps(logger) == ["2", ""]


# The model


def config(attention: str, **more: str) -> str:
    return "\n".join([f"attention: {{class_path: x.{attention}}}", *map(": ".join, more.items())])


def test_another_mechanism_is_named_with_both() -> None:
    with pytest.raises(UserError, match=r"model\.attention is QVKa there, QKV here"):
        check_same_model(config("QVKa"), config("QKV"), "--ckpt_path a.ckpt", fit=False)


def test_what_may_change() -> None:
    """Catches a test refused for another smoothing, a fit that goes on with it silently."""
    one, other = config("QV", label_smoothing="0.1"), config("QV", label_smoothing="0.2")
    check_same_model(one, other, "x", fit=False)
    with pytest.raises(UserError, match=r"label_smoothing is 0\.1 there, 0\.2 here"):
        check_same_model(one, other, "x", fit=True)
    check_same_model(config("QV", beam_size="5"), config("QV", beam_size="1"), "x", fit=True)
    check_same_model("", config("QV"), "x", fit=True)
    check_same_model(config("QV", added="1"), config("QV"), "x", fit=True)
