"""What each sentence of a validation added, against the scores of the whole set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qvbench.runs.folder import SENTENCES
from qvbench.training.callbacks import SentenceCounts, by_line
from tests.tasks.conftest import data, make_task, trainer  # noqa: F401


def test_the_file_adds_up_to_the_runs_scores(
    data: Callable[..., Any],  # noqa: F811
    trainer: Callable[..., Any],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Catches a batch lost, sentences of the validation before, padding or start tokens counted,
    tokens that go to another sentence, a wrong step."""
    task = make_task()
    run = trainer(
        max_steps=6,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=None,
        callbacks=[SentenceCounts(tmp_path)],
    )
    module = data()
    run.fit(task, datamodule=module)
    with np.load(tmp_path / SENTENCES) as stored:
        kept = dict(stored)
    accuracy = 100 * kept["last_right"].sum(dtype=int) / kept["tokens"].sum(dtype=int)
    assert abs(accuracy - float(run.callback_metrics["val/accuracy"])) < 1e-4
    assert 0 < accuracy < 100
    lengths = module.split("val").target.lengths + 1
    assert kept["tokens"].tolist() == lengths.tolist()
    assert (kept["last_right"] <= kept["tokens"]).all()
    assert kept["last_step"] == 6


def test_lines_of_all_devices_are_put_in_order() -> None:
    """Catches the order of the batches kept, and a line that two devices had counted twice."""
    batches = [
        {"line": np.array([3, 0]), "correct": np.array([5.0, 2.0]), "tokens": np.array([9, 4])},
        {"line": np.array([1, 3]), "correct": np.array([1.0, 5.0]), "tokens": np.array([7, 9])},
    ]
    found = by_line(batches)
    assert found["last_right"].tolist() == [2, 1, 5]
    assert found["tokens"].tolist() == [4, 7, 9]
