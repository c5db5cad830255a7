"""What each sentence of a validation added, against the scores of the whole set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from qvbench.data.batching import Batch
from qvbench.training.sentence_counts import (
    FILE,
    SentenceCounts,
    sentence_scores,
    updated,
)
from tests.tasks.conftest import data, make_task, trainer  # noqa: F401


def test_tokens_go_to_their_sentences() -> None:
    """Tokens counted by column, padding counted, the start token counted."""
    target = torch.tensor([[1, 5, 6, 2], [1, 2, 0, 0]])
    batch = Batch(target, target, torch.tensor([7, 3]))
    scores = sentence_scores(
        batch, torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.5, 1.0, 2.0, 4.0])
    )
    assert [values.tolist() for values in scores] == [[7, 3], [2, 1], [3, 1], [3.5, 4.0]]


def test_the_file_adds_up_to_the_runs_scores(data, trainer, tmp_path: Path):  # noqa: F811
    """A batch lost, sentences of the validation before, a nll in other units, a wrong step."""
    task = make_task()
    run = trainer(
        max_steps=6,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=None,
        callbacks=[SentenceCounts(tmp_path)],
    )
    run.fit(task, datamodule=data())
    with np.load(tmp_path / FILE) as stored:
        kept = dict(stored)
    tokens = kept["tokens"].sum(dtype=int)
    accuracy = 100 * kept["last_right"].sum(dtype=int) / tokens
    assert abs(accuracy - float(run.callback_metrics["val/accuracy"])) < 1e-4
    loss = kept["last_nll"].sum(dtype=float) / tokens
    assert abs(loss - float(run.callback_metrics["val/loss"])) < 1e-4
    assert len(kept["tokens"]) > 1
    assert kept["last_step"] == 6
    assert kept["best_right"].sum(dtype=int) >= kept["last_right"].sum(dtype=int)


def batches(*rights: int) -> list[tuple[np.ndarray, ...]]:
    """A validation in which sentences come in the wrong order, one of them twice."""
    lines = [*reversed(range(len(rights))), 0]
    right = np.array([rights[line] for line in lines])
    return [(np.array(lines), right, np.full(len(lines), 9), right / 2)]


def test_last_and_best_are_told_apart() -> None:
    """The best never renewed, or renewed by a worse one; lines in the order of the batches."""
    kept = updated({}, batches(1, 2, 3), 10)
    kept = updated(kept, batches(3, 2, 4), 20)
    kept = updated(kept, batches(2, 2, 2), 30)
    assert kept["best_right"].tolist() == [3, 2, 4]
    assert kept["last_right"].tolist() == [2, 2, 2]
    assert (kept["best_step"], kept["last_step"]) == (20, 30)
    assert kept["tokens"].tolist() == [9, 9, 9]
    assert kept["last_nll"].tolist() == [1, 1, 1]


def test_other_sentences_begin_anew() -> None:
    """A best of another validation set, with as many numbers as that had."""
    kept = updated(updated({}, batches(9, 9), 10), batches(1, 2, 3), 20)
    assert (kept["best_step"], kept["best_right"].tolist()) == (20, [1, 2, 3])
