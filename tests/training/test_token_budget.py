"""Trainings that end by target tokens: where, with what, and after being taken up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qvbench.errors import UserError
from qvbench.tasks.translation import TranslationTask
from qvbench.training.schedules import TokenBudget
from tests.cli.conftest import Answer, _own_settings, here, qvbench, tiny

__all__ = ["_own_settings", "here", "qvbench", "tiny"]

Qvbench = Callable[..., Answer]
NO_STEPS = ("--trainer.max_steps", "-1", "--trainer.max_epochs", "-1")
VALIDATIONS = ("--trainer.val_check_interval", "50")


def budget(tokens: int) -> tuple[str, str]:
    callback = {
        "class_path": "qvbench.training.schedules.TokenBudget",
        "init_args": {"target_tokens": tokens},
    }
    return "--trainer.callbacks+", json.dumps(callback)


def fit(qvbench: Qvbench, name: str, *words: str) -> tuple[dict[str, Any], Any]:
    """The record and the last checkpoint of a run."""
    answer = qvbench("fit", "--config", "tiny.yaml", "--name", name, *VALIDATIONS, *words)
    assert answer.status == 0, answer.err
    folder = Path("runs") / name / "seed-3"
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return json.loads((folder / "run.json").read_text()), state


def validations(name: str) -> list[int]:
    text = Path("runs", name, "seed-3", "curves.csv").read_text()
    rows = [row.split(",") for row in text.splitlines()]
    return [int(row[0]) for row in rows if row[4] == "val/accuracy"]


@pytest.mark.slow
def test_the_step_that_reaches_the_budget_is_the_last(tiny: Path, qvbench: Qvbench) -> None:
    """Catches a step too many or too few, an end within a step, no validation at the end, or two;
    other callbacks of the config pushed out; a count that starts again when the run is resumed."""
    accumulated = ("--trainer.accumulate_grad_batches", "2")
    by_steps, _ = fit(qvbench, "steps", *accumulated, "--trainer.max_steps", "5")
    tokens = by_steps["target_tokens"]  # between two lines of the log
    before, _ = fit(qvbench, "before", *accumulated, "--trainer.max_steps", "4")
    words = (*accumulated, *NO_STEPS)
    one, weights = fit(qvbench, "one", *words, *budget(tokens))
    assert (one["steps"], one["target_tokens"]) == (5, tokens)
    assert validations("one") == [5]
    assert one["status"] == "finished"
    assert Path("runs/one/seed-3/checkpoints/best.ckpt").exists()
    less, _ = fit(qvbench, "less", *words, *budget(before["target_tokens"] + 1))
    assert less["steps"] == 5
    exact, _ = fit(qvbench, "exact", *words, *budget(before["target_tokens"]))
    assert exact["steps"] == 4
    fit(qvbench, "resumed", *words, *budget(tokens), "--trainer.max_steps", "3")
    resumed, again = fit(qvbench, "resumed", *words, *budget(tokens), "--ckpt_path", "last")
    assert (resumed["steps"], resumed["target_tokens"]) == (5, tokens)
    assert resumed["metrics"]["val/accuracy"] == one["metrics"]["val/accuracy"]
    for key, value in weights["state_dict"].items():
        assert torch.equal(value, again["state_dict"][key]), key


@pytest.mark.slow
def test_the_count_is_read_seldom_and_never_late(
    tiny: Path, qvbench: Qvbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a GPU that is waited for after every step; a bound that lets the budget slip by."""
    reads: list[int] = []
    count = TranslationTask.tokens_seen_now

    def counted(task: TranslationTask) -> int:
        if task.trainer.training:  # a validation reads it too
            reads.append(task.trainer.global_step)
        return count(task)

    record, _ = fit(qvbench, "steps", "--trainer.max_steps", "60")
    tokens = record["target_tokens"]
    monkeypatch.setattr(TranslationTask, "tokens_seen_now", counted)
    found, _ = fit(qvbench, "tokens", *NO_STEPS, *budget(tokens))
    assert found["steps"] == 60
    assert reads[-1] == 60
    assert len(reads) < 15


@pytest.mark.slow
def test_a_schedule_ends_with_the_training(tiny: Path, qvbench: Qvbench) -> None:
    """Catches a resolved config without the number of steps after which the rate is zero, and a
    run that goes on for longer at a rate of zero."""
    schedule = ("--model.schedule", "LinearDecay", "--model.schedule.peak", "0.01")
    fit(qvbench, "decay", *schedule)
    kept = Path("runs/decay/seed-3/config.yaml")
    assert yaml.safe_load(kept.read_text())["model"]["schedule"]["init_args"]["total_steps"] == 6
    longer = ("fit", "--config", str(kept), "--trainer.max_steps", "9")
    answer = qvbench(*longer)
    assert (answer.status, answer.out) == (2, "")
    assert "total_steps is 6, but trainer.max_steps is 9" in answer.err
    answer = qvbench(
        "fit", "--config", "tiny.yaml", "--name", "decay", *schedule, "--ckpt_path", "last",
        "--trainer.max_steps", "9",
    )  # fmt: skip
    assert answer.status == 2
    assert "model.schedule.total_steps is 6 there, 9 here" in answer.err


def test_no_tokens_are_no_budget() -> None:
    """Catches a run that ends before its first step."""
    with pytest.raises(UserError, match="at least 1, got 0"):
        TokenBudget(0)
