"""Mixed fp16 with its loss scale, which needs no GPU to be wrong."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from qvbench.tasks.translation import TranslationTask
from qvbench.training.record import CurvesLogger
from tests.tasks.conftest import make_task


def half_precision(scale: float = 2.0**16) -> MixedPrecision:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return MixedPrecision("16-mixed", "cpu", scaler=scaler)


def task_with(fused: bool) -> TranslationTask:
    task = make_task()
    task.optimizer = functools.partial(torch.optim.Adam, lr=1.0, fused=fused)
    return task


def logged(folder: Path, metric: str) -> list[float]:
    with (folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["metric"] == metric]


fused_or_not = pytest.mark.parametrize("fused", [False, True])


@fused_or_not
def test_the_logged_norm_is_free_of_the_loss_scale(data, trainer, tmp_path, fused):
    """A fused optimizer unscales only when everybody has looked: a norm 65,536 times too large."""
    norms = []
    for name, plugins in (("single", []), ("half", [half_precision()])):
        folder = tmp_path / name
        folder.mkdir()
        run = trainer(
            max_steps=3,
            accumulate_grad_batches=2,
            plugins=plugins,
            logger=CurvesLogger(folder),
            log_every_n_steps=1,
        )
        run.fit(task_with(fused), datamodule=data())
        norms.append(logged(folder, "train/grad_norm"))
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
    assert len(norms[0]) == 3
    assert logged(tmp_path / "half", "train/skipped_steps") == [0.0] * 3


@fused_or_not
def test_clipping_is_that_of_single_precision(data, trainer, fused):
    """Lightning refuses fused optimizers here: their gradients would be clipped while scaled."""
    weights = []
    for plugins in ([], [half_precision()]):
        task = task_with(fused)
        run = trainer(max_steps=2, plugins=plugins, gradient_clip_val=1e-3)
        run.fit(task, datamodule=data(max_tokens=4000))
        first_moments = [state["exp_avg"] for state in task.optimizers().state.values()]
        weights.append(torch.stack([m.norm() for m in first_moments]).norm())
    # After two steps the first moment of gradients of norm c is at most (0.1 * 0.9 + 0.1) c.
    assert weights[0] <= 0.19 * 1e-3 * 1.001
    torch.testing.assert_close(weights[1], weights[0], rtol=0.02, atol=0)


@fused_or_not
def test_steps_that_overflow_are_skipped_and_counted(data, trainer, tmp_path, fused):
    """Infinite gradients that reach the weights, or that a division hides from the scaler."""
    task = task_with(fused)
    run = trainer(
        max_steps=3,
        plugins=[half_precision(scale=2.0**60)],
        logger=CurvesLogger(tmp_path),
        log_every_n_steps=1,
    )
    run.fit(task, datamodule=data())
    fresh = make_task()
    fresh.build(task.vocabulary)
    for name, value in fresh.state_dict().items():
        if name.startswith("network."):
            assert torch.equal(task.state_dict()[name], value), name
    assert logged(tmp_path, "train/skipped_steps") == [1.0, 2.0, 3.0]
    assert logged(tmp_path, "train/loss_scale") == [2.0**59, 2.0**58, 2.0**57]
