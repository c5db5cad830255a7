"""Numbers that are not finite end a training: where, with which batch, and nothing bad is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision

from qvbench.data.batching import Batch
from qvbench.tasks.translation import TranslationTask
from qvbench.training.guards import SMALLEST_SCALE, FiniteCheck, StepGuard
from qvbench.training.machine import RunFault
from tests.cli.conftest import Answer
from tests.faults.injected import poison
from tests.tasks.conftest import make_task

Make = Callable[..., Any]

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A task one of whose batches has a loss that is not finite, and the batches that it gets."""

    def make(number: int, factor: float = NAN) -> tuple[TranslationTask, list[Batch]]:
        return make_task(dropout=0.1), poison(TranslationTask, number, factor, monkeypatch)

    return make


def is_finite(file: Path) -> bool:
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    return all(bool(value.isfinite().all()) for value in state.values())


def fault_of(run: Any, task: Any, data: Any) -> RunFault:
    with pytest.raises(RunFault) as caught:
        run.fit(task, datamodule=data)
    assert "\n" not in str(caught.value)
    assert caught.value.status == "diverged"
    return caught.value


@pytest.mark.parametrize("factor", [NAN, INF])
def test_the_first_bad_step_is_named_though_read_late(
    data: Make, trainer: Make, poisoned: Make, factor: float
) -> None:
    """Catches a guard that names the step at which it looked, or only looks for NaN."""
    task, _ = poisoned(5, factor)
    run = trainer(max_steps=40, callbacks=[StepGuard()], log_every_n_steps=7)
    fault = fault_of(run, task, data())
    assert fault.facts["kind"] == "loss"
    assert fault.facts["step"] == 6
    assert run.global_step == 7  # read at the log line
    assert "no checkpoint to resume from had been written yet" in str(fault)


def test_the_batch_can_be_found_again(data: Make, trainer: Make, poisoned: Make) -> None:
    """Catches the number of the neighbouring batch, of another epoch, or one of the step."""
    (task, seen), module = poisoned(17), data()
    run = trainer(
        max_steps=40, callbacks=[StepGuard()], accumulate_grad_batches=2, log_every_n_steps=4
    )
    named = fault_of(run, task, module).facts["batches"][-1]  # of the step's two
    culprit = seen[17]
    assert named["epoch"] > 0  # the small corpus has been gone through
    again = module.train_dataloader().batch_at(named["epoch"], named["batch"])
    assert torch.equal(again.index, culprit.index)
    assert torch.equal(again.target, culprit.target)
    assert len({tuple(batch.index.tolist()) for batch in seen}) > 10


def test_a_gradient_is_enough(data: Make, trainer: Make) -> None:
    """Catches weights that one bad gradient made NaN and a checkpoint kept, the loss being fine."""
    task, steps = make_task(), list[int]()

    class Spoil(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
            steps.append(trainer.global_step)
            if len(steps) == 3:
                next(p for p in pl_module.parameters() if p.grad is not None).grad.fill_(INF)

    run = trainer(
        max_steps=9,
        callbacks=[StepGuard(), Spoil()],
        accumulate_grad_batches=2,
        log_every_n_steps=3,
    )
    fault = fault_of(run, task, data())
    assert (fault.facts["kind"], fault.facts["step"]) == ("gradient", 3)
    assert len(fault.facts["batches"]) == 2
    assert run.global_step == 3


@pytest.mark.parametrize("weights_only", [False, True])
def test_no_checkpoint_is_poisoned(
    data: Make, trainer: Make, poisoned: Make, tmp_path: Path, weights_only: bool
) -> None:
    """Catches a last.ckpt full of NaN, written between two log lines, and weights alone that are
    said to be resumed from."""
    kept = ModelCheckpoint(
        dirpath=tmp_path / "kept",
        filename="{step}",
        every_n_train_steps=2,
        save_top_k=-1,
        save_weights_only=weights_only,
    )
    run = trainer(
        max_steps=40,
        callbacks=[StepGuard(), kept],
        enable_checkpointing=True,
        log_every_n_steps=1000,
    )
    fault = fault_of(run, poisoned(6)[0], data())
    files = sorted(file.name for file in (tmp_path / "kept").iterdir())
    assert files == ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]
    assert all(is_finite(file) for file in (tmp_path / "kept").iterdir())
    newest = None if weights_only else str(tmp_path / "kept" / "step=6.ckpt")
    assert fault.facts["checkpoint"] == newest
    assert (newest or "no checkpoint to resume from") in str(fault)
    with pytest.raises(RunFault):  # nor by any other way
        run.save_checkpoint(tmp_path / "other.ckpt")
    assert not (tmp_path / "other.ckpt").exists()


def test_a_checkpoint_of_the_very_step_is_not_written(
    data: Make, trainer: Make, poisoned: Make, tmp_path: Path
) -> None:
    kept = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=1, save_top_k=-1)
    run = trainer(
        max_steps=9,
        callbacks=[StepGuard(), kept],
        enable_checkpointing=True,
        log_every_n_steps=1000,
    )
    fault_of(run, poisoned(0)[0], data())
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())


def test_the_end_is_looked_at(data: Make, trainer: Make, poisoned: Make) -> None:
    """Catches a run that ends before the next log line and counts as finished."""
    run = trainer(max_steps=3, callbacks=[StepGuard()], log_every_n_steps=1000)
    assert fault_of(run, poisoned(2)[0], data()).facts["step"] == 3


def test_validation_is_not_of_lost_weights(data: Make, trainer: Make, poisoned: Make) -> None:
    run = trainer(
        max_steps=9,
        callbacks=[StepGuard()],
        log_every_n_steps=1000,
        limit_val_batches=1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
    )
    assert fault_of(run, poisoned(1)[0], data()).facts["step"] == 2
    assert run.global_step == 4


def test_nothing_is_read_between_two_lines(
    data: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a guard that waits for the device at every step."""
    reads: list[int] = []
    first = FiniteCheck.first

    def counted(self: FiniteCheck) -> Any:
        reads.append(1)
        return first(self)

    monkeypatch.setattr(FiniteCheck, "first", counted)
    run = trainer(max_steps=12, callbacks=[StepGuard()], log_every_n_steps=4)
    run.fit(make_task(), datamodule=data())
    assert len(reads) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_watching_waits_for_no_gpu() -> None:
    """Catches an operation that synchronises, by CUDA's own word."""
    check = FiniteCheck()
    values = [torch.tensor(value, device="cuda") for value in (1.0, NAN, 2.0, INF)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, value in enumerate(values):
            check.see("loss", value, number)
            check.see("gradient", value, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert check.first() == ("loss", 1)


def test_the_first_is_kept() -> None:
    """Catches the last bad step for the first, and a gradient taken for a loss."""
    check = FiniteCheck()
    assert check.first() is None
    for step, value in enumerate([1.0, INF, 1.0, NAN]):
        check.see("loss", torch.tensor(1.0), step)
        check.see("gradient", torch.tensor(value), step)
        check.see("loss", torch.tensor(value), step + 1)
    assert check.first() == ("gradient", 1)


# Mixed fp16, its loss scale on the CPU


def half_precision(scale: float) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_a_few_skipped_steps_are_no_fault(data: Make, trainer: Make) -> None:
    """Catches a guard that ends every fp16 training in the steps that find its scale."""
    run = trainer(
        max_steps=4,
        callbacks=[StepGuard()],
        plugins=[half_precision(2.0**60)],
        log_every_n_steps=1,
    )
    run.fit(make_task(), datamodule=data())
    assert run.global_step == 4


def test_a_collapsed_scale_ends_the_training(data: Make, trainer: Make) -> None:
    """Catches a training that goes on for ever with a scale at which all gradients vanish."""
    task = make_task()

    class Spoil(Callback):
        def on_after_backward(self, trainer, pl_module) -> None:
            next(p for p in pl_module.parameters() if p.grad is not None).grad.fill_(NAN)

    run = trainer(
        max_steps=40,
        callbacks=[StepGuard(), Spoil()],
        plugins=[half_precision(4 * SMALLEST_SCALE)],
        log_every_n_steps=1,
    )
    fault = fault_of(run, task, data())
    assert fault.facts["kind"] == "skipped steps"
    assert fault.facts["loss_scale"] == SMALLEST_SCALE / 2
    assert "bf16-mixed" in str(fault)
    assert run.global_step == 3
    fresh = make_task()
    fresh.build(task.vocabulary)
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.parameters(), task.parameters(), strict=True)
    )


# The command


def test_the_record_says_how_it_ended(
    tiny: Path, here: Path, qvbench: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback, a record that says "running", and curves that end without a reason."""
    poison(TranslationTask, 4, NAN, monkeypatch)
    answer = qvbench("fit", "--config", "tiny.yaml", "--trainer.max_steps", "30")
    last = answer.err.splitlines()[-1]
    assert answer.status == 2, answer.err
    assert last.startswith("qvbench: error: the loss of step 5 is not finite (batch 4 of epoch 0)")
    folder = here / "runs" / "tiny" / "seed-3"
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "diverged"
    assert record["fault"]["message"] in last
    assert record["fault"]["step"] == 5
    checkpoints = list((folder / "checkpoints").glob("*.ckpt"))
    assert record["fault"]["checkpoint"] in map(str, checkpoints)
    assert all(is_finite(file) for file in checkpoints)
