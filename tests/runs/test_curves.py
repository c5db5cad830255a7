"""The curves of a run, on resume and after a kill."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from qvbench.runs.curves import CurvesFile
from qvbench.training.record import CurvesLogger


def steps(file: CurvesFile) -> list[str]:
    return [line.split(",")[0] for line in file.path.read_text().splitlines()[1:]]


@pytest.fixture
def curves(tmp_path: Path) -> CurvesFile:
    return CurvesFile(tmp_path / "curves.csv")


def test_rows_after_the_checkpoint_go(curves: CurvesFile) -> None:
    """Catches a row at the checkpoint's own step that is logged a second time, a row of a test
    that is lost, one that takes the place of a row of training, and half a line that spoils the
    file."""
    curves.append([2, 0, 9, 0.5], {"train/loss": 1.0})
    CurvesFile(curves.path).append(["", "", "", ""], {"test/bleu": 3.0})  # beside the training
    curves.append([4, 0, 9, 0.5], {"train/loss": 1.0})
    rows = curves.rows
    curves.append([4, 0, 9, 0.5], {"val/loss": 1.0})
    curves.append([6, 0, 9, 0.5], {"train/loss": 1.0})
    with curves.path.open("a") as file:
        file.write("8,0,10,0.5,train/lo")
    again = CurvesFile(curves.path)
    again.cut(4, rows)
    assert steps(again) == ["2", "", "4"]
    assert again.rows == rows == 2
    again.cut(2)
    assert steps(again) == ["2", ""]


@pytest.mark.parametrize("rest", ["8", "8,0,10,0.5,train/loss,0.123", "8,0,10", "\0\0"])
def test_half_a_line_is_no_row(curves: CurvesFile, rest: str) -> None:
    """Catches what a killed process left being read as a measurement, or joined to the next."""
    curves.append([2, 0, 9, 0.5], {"train/loss": 1.0})
    with curves.path.open("a") as file:
        file.write(rest)
    CurvesFile(curves.path).append(["", "", "", ""], {"test/bleu": 3.0})
    assert steps(curves) == ["2", ""]


def test_the_logger_fills_the_columns(tmp_path: Path) -> None:
    """Catches a file that is written anew, or misaligned, when a metric appears late."""
    logger = CurvesLogger(tmp_path)
    logger.log_metrics({"test/bleu": 3.0, "epoch": 0}, step=0)
    logger.started = time.monotonic() - 100
    logger.log_metrics({"train/loss": 2.5, "target_tokens": 40.0, "epoch": 1}, step=2)
    logger.log_metrics({"val/accuracy": 50.0, "train/loss": 2.0}, step=4)
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,target_tokens,seconds,metric,value"
    assert lines[1] == ",,,,test/bleu,3.0"
    assert lines[2].startswith("2,1,40,100.")
    assert lines[2].endswith(",train/loss,2.5")
    assert lines[3].startswith("4,,,100.")
    logger.file.cut(2)
    assert (tmp_path / "curves.csv").read_text().splitlines() == lines[:3]
