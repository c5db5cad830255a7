"""A training whose numbers are no longer finite ends, and says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qvbench.data.batching import DataPosition
from qvbench.data.loader import BatchLoader
from qvbench.training.checkpoints import newest_whole
from qvbench.training.machine import RunFault, loss_scaler

SMALLEST_SCALE = 2.0**-14
"""Loss scale that ends a training: fp16's smallest normal number. Below it even gradients of 1 are
subnormal, and a healthy training never comes near (31 skipped steps in a row from its 2^16)."""


class FiniteCheck:
    """The first step whose loss or gradient is not finite, kept where the values are."""

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def see(self, kind: str, value: Tensor, step: int) -> None:
        """Look at a step's ``loss``, or the norm of its ``gradient``, without waiting for a GPU."""
        if self._first is None:
            self._first = torch.full((), -1, dtype=torch.int64, device=value.device)
        bad = ~value.isfinite() & (self._first < 0)
        self._first.masked_fill_(bad, 2 * step + (kind == "gradient"))

    def first(self) -> tuple[str, int] | None:
        """Kind and step of the first that was not finite, None if all were; waits for a GPU."""
        found = -1 if self._first is None else int(self._first)
        return None if found < 0 else (("loss", "gradient")[found % 2], found // 2)


class StepGuard(Callback):
    """Ends a training whose numbers are no longer finite, and names step, batches and checkpoint.

    Under float32 and bfloat16 one loss or gradient that is not finite makes all weights NaN. The
    first is kept on the device, and read where training waits in any case: at log lines, before
    validations, at the end, and whenever somebody asks for the weights to save them. Under fp16
    such a step is skipped and the loss scale halved, which is no error until it is of no use.
    """

    def __init__(self) -> None:
        self._check = FiniteCheck()
        self._positions: list[tuple[int, DataPosition | None]] = []  # by step, since the last check
        self._hook: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before weights are read, as everything does that saves them."""
        self.teardown(trainer, pl_module, "fit")
        self._check, self._positions = FiniteCheck(), []
        self._hook = pl_module.register_state_dict_pre_hook(lambda *_: self.check(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
    ) -> None:
        unfinished = pl_module.gradient_step.unfinished
        step = trainer.global_step + unfinished
        loader = trainer.train_dataloader
        position = loader.sampler.position if isinstance(loader, BatchLoader) else None
        self._positions.append((step, position))
        if loss_scaler(trainer) is None:
            self._check.see("loss", outputs["loss"], step)
            if not unfinished:
                self._check.see("gradient", pl_module.step_log.gradient_norm, step)
        if not unfinished and step % pl_module.log_every == 0:
            self.check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._hook is not None:
            self._hook.remove()

    def check(self, trainer: Trainer) -> None:
        """Raise a :class:`RunFault` if a step was not finite, or fp16's scale is of no use."""
        if not self._positions:
            return  # nothing was trained since
        if found := self._check.first():
            what = "the {} of step {:,} is not finite".format(*found)
            remedy = "lower the learning rate or add --trainer.gradient_clip_val 1"
            raise self._fault(trainer, found[1], what, remedy, kind=found[0])
        scaler = loss_scaler(trainer)
        if scaler is not None and (scale := scaler.get_scale()) < SMALLEST_SCALE:
            step = self._positions[-1][0]
            what = f"fp16 skips step after step; at step {step:,} the loss scale is {scale:g}"
            remedy = "use --trainer.precision bf16-mixed or 32-true, or a lower learning rate"
            raise self._fault(trainer, step, what, remedy, kind="skipped steps", loss_scale=scale)
        self._positions = []

    def _fault(self, trainer: Trainer, step: int, what: str, remedy: str, **facts: Any) -> RunFault:
        at = [place for number, place in self._positions if number == step and place is not None]
        batches = [  # as ``BatchLoader.batch_at`` counts; a position is behind its batch
            {"epoch": place.epoch, "batch": place.batches - 1} for place in at
        ]
        named = "batch unknown"
        if batches:
            first, last = batches[0]["batch"], batches[-1]["batch"]
            numbers = f"batch {first}" if first == last else f"batches {first} to {last}"
            named = f"{numbers} of epoch {batches[0]['epoch']}"
        folders = {getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks}
        files = [file for folder in folders if folder for file in Path(folder).glob("*.ckpt")]
        newest = newest_whole(files)
        checkpoint = str(newest) if newest else None
        resumed = "no checkpoint to resume from had been written yet"
        if checkpoint:
            resumed = f"the last good checkpoint is {checkpoint} (--ckpt_path resumes from it)"
        what = f"{what} ({named}); training stopped; {resumed}; {remedy}"
        facts |= {"step": step, "batches": batches, "checkpoint": checkpoint}
        return RunFault(what, status="diverged", **facts)
