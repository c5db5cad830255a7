"""What a run logs and shows: of which step, of which processes, and where."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qvbench.training.record import CurvesLogger
from qvbench.training.schedules import InverseSquareRoot
from tests.tasks.conftest import make_task


def curves(folder: Path) -> dict[str, list[float]]:
    """The values of every metric in the order of their rows."""
    found: dict[str, list[float]] = {}
    with (folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["metric"], []).append(float(row["value"]))
    return found


def test_the_logged_rate_is_the_one_that_was_used(
    data: Callable[..., Any], trainer: Callable[..., Any], tmp_path: Path
) -> None:
    """Catches the rate of the next step: Lightning steps the schedule before the log line."""
    task = make_task()
    task.schedule = InverseSquareRoot(0.01, warmup_steps=4)
    run = trainer(max_steps=6, logger=CurvesLogger(tmp_path), log_every_n_steps=2)
    run.fit(task, datamodule=data())
    expected = [task.schedule.learning_rate(step, 16) for step in (2, 4, 6)]
    assert curves(tmp_path)["train/lr"] == pytest.approx(expected, rel=1e-12)


def test_validate_shows_its_measures_once_and_logs_nothing(
    data: Callable[..., Any],
    trainer: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Catches a verb that measures and says nothing, and rows of it in the training's curves."""
    task, module = make_task(), data()
    run = trainer(
        max_steps=4, logger=CurvesLogger(tmp_path), log_every_n_steps=2, limit_val_batches=None
    )
    run.fit(task, datamodule=module)
    before = (tmp_path / "curves.csv").read_bytes()
    capsys.readouterr()
    run.validate(task, datamodule=module)
    shown = capsys.readouterr().out
    for name in ("accuracy", "loss", "smoothed_loss", "perplexity"):
        value = float(run.callback_metrics[f"val/{name}"])
        (line,) = [line for line in shown.splitlines() if f"val/{name} " in line]
        assert float(line.split()[1]) == pytest.approx(value, rel=1e-4)
    assert "%" in shown
    assert (tmp_path / "curves.csv").read_bytes() == before
