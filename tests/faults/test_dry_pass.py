"""The largest batches are tried before the first step, and that changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from qvbench.data.batching import Batch, Shape
from qvbench.data.store import StoredSplit
from qvbench.tasks.translation import TranslationTask
from qvbench.training.guards import DEVICES, DryPass
from qvbench.training.machine import RunFault
from qvbench.training.record import CurvesLogger
from tests.cli.conftest import Answer
from tests.tasks.conftest import make_task

Make = Callable[..., Any]


class Shapes:
    """The shapes of all batches that a task scores, in order, and when training started."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, ...]] = []
        forward = TranslationTask.forward

        def watched(task: TranslationTask, batch: Batch) -> Any:
            self.seen.append((*batch.source.shape, *batch.target.shape))
            return forward(task, batch)

        patch.setattr(TranslationTask, "forward", watched)


class State(Callback):
    """What a training starts from, after all callbacks before this one."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.random = torch.get_rng_state()
        self.gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]


def lines(folder: Path) -> list[list[str]]:
    rows = [row.split(",") for row in (folder / "curves.csv").read_text().splitlines()]
    return [[r[0], r[4], r[5]] for r in rows if r[4] != "train/tokens_per_second"]


def test_results_are_those_without_it_bit_for_bit(
    data: Make, trainer: Make, tmp_path: Path
) -> None:
    """Catches dropout's random numbers used up, gradients left over, tokens counted twice."""
    weights, curves, states = [], [], []
    for name, devices in (("without", DEVICES["never"]), ("with", DEVICES["always"])):
        folder, state, task = tmp_path / name, State(), make_task(dropout=0.3)
        folder.mkdir()
        torch.manual_seed(11)
        run = trainer(
            max_steps=5,
            accumulate_grad_batches=2,
            log_every_n_steps=1,
            logger=CurvesLogger(folder),
            callbacks=[DryPass(devices), state],
        )
        run.fit(task, datamodule=data())
        weights.append(task.state_dict())
        curves.append(lines(folder))
        states.append(state)
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())
    assert curves[0] == curves[1]
    assert len(curves[0]) > 20
    assert torch.equal(states[0].random, states[1].random)
    assert not states[1].gradients


def test_no_batch_of_any_epoch_is_larger(data: Make) -> None:
    """Catches a dry pass over a batch that later epochs exceed."""
    module = data(max_tokens=60)
    module.setup()
    batches = module.train_dataloader()
    shapes = batches.largest_shapes()
    most = max(shape.rows * shape.length for shape in shapes)
    longest = max(shape.length for shape in shapes)
    seen = []
    for epoch in range(5):
        for number in range(len(batches)):
            pairs, source = batches.batch_at(epoch, number).source.shape
            target = batches.batch_at(epoch, number).target.shape[1] - 1
            seen.append((pairs * max(source, target), max(source, target)))
    assert max(size for size, _ in seen) == most
    assert max(length for _, length in seen) == longest


def test_a_batch_of_a_shape() -> None:
    """Catches a target that is a token short of the longest."""
    batch = StoredSplit.batch_of(Shape(3, 7))
    assert batch.source.shape == (3, 7)
    assert batch.target.shape == (3, 8)
    assert bool((batch.target != 0).all())


def test_it_comes_before_the_first_step(
    data: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, module = Shapes(monkeypatch), data()
    run = trainer(max_steps=2, callbacks=[DryPass(DEVICES["always"])])
    run.fit(make_task(), datamodule=module)
    expected = module.train_dataloader().largest_shapes()
    assert shapes.seen[: len(expected)] == [(b, n, b, n + 1) for b, n in expected]
    assert len(shapes.seen) == len(expected) + 2


def test_by_default_only_a_gpu_is_tried(
    data: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = Shapes(monkeypatch)
    trainer(max_steps=1, callbacks=[DryPass()]).fit(make_task(), datamodule=data())
    assert len(shapes.seen) == 1
    assert DEVICES["auto"] == ("cuda",)


def out_of_memory(above: int, patch: pytest.MonkeyPatch) -> None:
    """A device on which batches of more padded tokens do not fit."""
    forward = TranslationTask.forward

    def limited(task: TranslationTask, batch: Batch) -> Any:
        if batch.source.numel() + batch.target.numel() > above:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\n")
        return forward(task, batch)

    patch.setattr(TranslationTask, "forward", limited)


def test_too_little_memory_is_one_line(
    data: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a run that dies of its largest batch after an hour, and a page of CUDA's advice."""
    out_of_memory(30, monkeypatch)
    run = trainer(max_steps=2, callbacks=[DryPass(DEVICES["always"])])
    with pytest.raises(RunFault) as caught:
        run.fit(make_task(), datamodule=data())
    pairs, length = caught.value.facts["batch"]
    message = str(caught.value)
    assert f"{pairs} rows of {length} tokens" in message
    assert "data.max_tokens is 40" in message
    for remedy in ("--data.max_tokens", "accumulate_grad_batches", "precision"):
        assert remedy in message
    assert "\n" not in message
    assert run.global_step == 0


def test_another_error_is_not_taken_for_memory(
    data: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(TranslationTask, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer(callbacks=[DryPass(DEVICES["always"])]).fit(make_task(), datamodule=data())


@pytest.mark.slow
def test_the_record_has_the_peak(tiny: Path, here: Path, qvbench: Callable[..., Answer]) -> None:
    """Catches an option that nobody reads, and a record that loses it when the run goes on."""
    answer = qvbench("fit", "--config", "tiny.yaml", "--dry_pass", "always")
    assert answer.status == 0, answer.err
    record = json.loads((here / "runs" / "tiny" / "seed-3" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["dry_pass"]["peak_gib"] > 0.05
    assert all(len(shape) == 2 for shape in record["dry_pass"]["largest_batches"])


@pytest.mark.parametrize("words", [["--dry_pass", "always"], []])
def test_the_command_says_what_to_lower(
    words: list[str],
    tiny: Path,
    here: Path,
    qvbench: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a traceback: before training, and in the middle of it."""
    out_of_memory(200, monkeypatch)
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    where = "out of memory on the largest batch" if words else "out of memory: "
    assert last.startswith(f"qvbench: error: {where}"), answer.err
    assert "--data.max_tokens" in last
    record = json.loads((here / "runs" / "tiny" / "seed-3" / "run.json").read_text())
    assert (record["status"], record["fault"]["kind"]) == ("failed", "memory")


def test_an_unknown_choice_is_one_line(tiny: Path, qvbench: Callable[..., Answer]) -> None:
    """Catches a choice that is taken for another, or a traceback."""
    answer = qvbench("fit", "--config", "tiny.yaml", "--dry_pass", "maybe")
    assert answer.status == 2
    assert "dry_pass: maybe is not allowed here; expected: 'auto', 'always', 'never'" in answer.err
