"""A run that is killed and resumed sees the batches that it would have seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from qvbench.data.batching import Batch
from qvbench.data.loader import BatchLoader
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError

Make = Callable[..., TranslationDataModule]


def seen(batch: Batch) -> tuple[int, ...]:
    return tuple(batch.index.tolist())


def epochs(loader: BatchLoader, numbers: range) -> list[tuple[int, ...]]:
    batches = []
    for epoch in numbers:
        loader.sampler.set_epoch(epoch)
        batches += [seen(batch) for batch in loader]
    return batches


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "stop"), [(0, 0), (0, 1), (0, -1), (2, 5), (2, -1)])
def test_a_loader_goes_on_in_mid_epoch_past_an_epoch_border(
    data_module: Make, workers: int, stop: int
) -> None:
    """Catches replayed or skipped batches, and batches prefetched by workers counted as seen."""
    module = data_module(num_workers=workers)
    first = module.train_dataloader()
    stop = stop % len(first)
    epochs(first, range(1))
    first.sampler.set_epoch(1)
    iterator = iter(first)
    for _ in range(stop):
        next(iterator)
    state = first.state_dict()
    expected = [seen(batch) for batch in iterator] + epochs(first, range(2, 4))

    rebuilt = data_module(num_workers=2 - workers).train_dataloader()
    rebuilt.load_state_dict(state)
    rebuilt.sampler.set_epoch(1)
    assert [seen(batch) for batch in rebuilt] + epochs(rebuilt, range(2, 4)) == expected
    assert len(expected) == 3 * len(first) - stop


def test_an_abandoned_iterator_does_not_leak_into_the_next(data_module: Make) -> None:
    """Catches workers that hand out what was prefetched before a new start."""
    loader = data_module(num_workers=2).train_dataloader()
    expected = epochs(loader, range(1))
    next(iter(loader))
    assert epochs(loader, range(1)) == expected


def test_an_epoch_that_the_trainer_cut_short_is_over(data_module: Make) -> None:
    """Catches a new epoch that begins with what a limit on batches had left of the last one."""
    first = data_module().train_dataloader()
    next(iter(first))
    rebuilt = data_module().train_dataloader()
    rebuilt.load_state_dict(first.state_dict())
    assert epochs(rebuilt, range(1, 3)) == epochs(first, range(1, 3))


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_a_loader_draws_no_random_number(data_module: Make, workers: int) -> None:
    """Catches a resumed run whose dropout differs: a DataLoader takes a seed at every start."""
    module = data_module(num_workers=workers)
    before = torch.get_rng_state()
    for loader in (module.train_dataloader(), module.val_dataloader()):
        next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"max_tokens": 200}, "max_tokens"),
        ({"merges": 10}, "data_fingerprint"),
        ({}, "world_size"),
    ],
)
def test_a_state_of_another_order_is_refused(
    data_module: Make, change: dict[str, int], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a resume that would silently go on in other data, and a message without values."""
    state = data_module().train_dataloader().state_dict()
    if named == "world_size":
        monkeypatch.setattr(TranslationDataModule, "_rank", lambda self: (0, 2))
    other = data_module(**change).train_dataloader()
    then, now = state["identity"][named], other.state_dict()["identity"][named]
    with pytest.raises(UserError, match=f"{named}={then}, this run has {now};"):
        other.load_state_dict(state)


def test_a_state_of_another_version_is_refused(data_module: Make) -> None:
    """Catches a position that is read as something else."""
    loader = data_module().train_dataloader()
    with pytest.raises(UserError, match="version"):
        loader.load_state_dict(loader.state_dict() | {"version": 0})


def test_a_batch_that_is_lost_with_its_worker_names_the_worker(
    data_module: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a worker that dies between announcing a batch and handing over its memory."""

    def gone(_: object) -> int:
        raise ConnectionResetError

    monkeypatch.setattr("multiprocessing.resource_sharer.DupFd.detach", gone, raising=True)
    with pytest.raises(RuntimeError, match="DataLoader worker exited unexpectedly"):
        next(iter(data_module(num_workers=1).train_dataloader()))


class Recorder(LightningModule):
    """Notes the pairs of every training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.steps: list[tuple[int, tuple[int, ...]]] = []

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        self.steps.append((self.global_step, seen(batch)))
        return self.weight.sum()

    def validation_step(self, batch: Batch, number: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    module: TranslationDataModule,
    checkpoints: ModelCheckpoint,
    resume: Path | None,
    **settings: Any,
) -> Recorder:
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=33,
        callbacks=[checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        **settings,
    )
    trainer.fit(recorder, datamodule=module, ckpt_path=resume)
    return recorder


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step=").split("-")[0])


STEPS = {"val_check_interval": 5, "check_val_every_n_epoch": None}
EPOCHS = {"check_val_every_n_epoch": 1}
SHORT = {**EPOCHS, "limit_train_batches": 6}
AFTER_STEPS = {"every_n_train_steps": 1}
AFTER_EPOCHS = {"every_n_epochs": 1, "save_on_train_epoch_end": True}
AFTER_VALIDATION = {"every_n_epochs": 1, "save_on_train_epoch_end": False}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("validation", "saving"),
    [
        pytest.param(STEPS, AFTER_STEPS, id="steps-after_steps"),
        pytest.param(STEPS, AFTER_VALIDATION, id="steps-after_validation"),
        pytest.param(EPOCHS, AFTER_EPOCHS, id="epochs-after_epochs"),
        pytest.param(EPOCHS, AFTER_VALIDATION, id="epochs-after_validation"),
        pytest.param(SHORT, AFTER_STEPS, id="short-after_steps"),
        pytest.param(SHORT, AFTER_EPOCHS, id="short-after_epochs"),
    ],
)
def test_lightning_resumes_from_every_checkpoint(
    data_module: Make, tmp_path: Path, validation: dict[str, Any], saving: dict[str, Any]
) -> None:
    """Catches what Lightning does around a loader: iter() before set_epoch(), a checkpoint on the
    last batch of an epoch, one before and one after validation."""
    pairs = 40
    batches = len(data_module(pairs).train_dataloader())
    assert 2 * batches + 2 < 33, "the run must pass two epoch borders"
    saver = ModelCheckpoint(tmp_path / "whole", filename="{step}", save_top_k=-1, **saving)
    whole = fit(data_module(pairs), saver, None, **validation)
    epoch = validation.get("limit_train_batches", batches)
    borders = {epoch * number + off for number in (1, 2) for off in (-1, 0, 1)}
    checkpoints = [path for path in (tmp_path / "whole").glob("*.ckpt") if step_of(path) in borders]
    assert len(checkpoints) > 1
    for checkpoint in checkpoints:
        step = step_of(checkpoint)
        again = ModelCheckpoint(
            tmp_path / f"from{step}", filename="{step}", save_top_k=-1, **saving
        )
        resumed = fit(data_module(pairs), again, checkpoint, **validation)
        assert resumed.steps == whole.steps[step:], f"resumed from step {step}"
    # A second resume starts from what a resumed run saved, where Lightning's epochs may be off.
    for folder in list(tmp_path.glob("from*"))[:2]:
        checkpoint = min(folder.glob("*.ckpt"), key=step_of)
        none = ModelCheckpoint(tmp_path / "twice", save_top_k=0)
        resumed = fit(data_module(pairs), none, checkpoint, **validation)
        assert resumed.steps == whole.steps[step_of(checkpoint) :], f"resumed from {checkpoint}"
