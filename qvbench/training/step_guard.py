"""Stops a training whose numbers are no longer finite, without waiting for a GPU at any step.

Under float32 and bfloat16 one loss or gradient that is not finite makes all weights NaN. Under fp16
such a step is skipped and the loss scale halved, which is no fault until it happens again and
again. Either is kept as a few numbers on the device, and read where training waits in any case: at
log lines, before validations, at the end, and whenever somebody asks for the weights to save them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qvbench.data.loader import BatchLoader, DataPosition
from qvbench.training.faults import RunFault, how_to_go_on, last_good_checkpoint

SKIPPED_IN_A_ROW = 50
"""Skipped fp16 steps in a row that end a training: 50 halvings leave no scale that is of use."""

SMALLEST_SCALE = 2.0**-14
"""Loss scale that ends a training: fp16's smallest normal number. Below it the scale shrinks even
gradients of 1 into fp16's subnormal range, and a healthy training never comes near (it starts at
2^16)."""

_NEVER = 1 << 62


class Poison(NamedTuple):
    """What was found: numbers of micro-batches, ``_NEVER`` for none; lengths of runs of skips."""

    loss: int
    gradient: int
    skipped: int
    skipped_until: int


class Watch:
    """The first micro-batch whose loss or gradient is not finite, kept where the numbers are."""

    def __init__(self) -> None:
        self._first: Tensor | None = None  # (2,): by loss, by gradient
        self._skips: Tensor | None = None  # (3,): in a row now, most in a row, their last batch

    def loss(self, loss: Tensor, number: int) -> None:
        """See the loss of a micro-batch; nothing is synchronised."""
        self._see(0, loss, number)

    def gradient(self, norm: Tensor, number: int) -> None:
        """See the gradient's norm of a step that ended with a micro-batch."""
        self._see(1, norm, number)

    def skip(self, norm: Tensor, number: int) -> None:
        """See the gradient's norm of an fp16 step, which is skipped if it is not finite."""
        if self._skips is None:
            self._skips = torch.zeros(3, dtype=torch.int64, device=norm.device)
        now, most, last = self._skips.unbind()
        now = torch.where(norm.isfinite(), 0, now + 1)
        self._skips = torch.stack((now, now.maximum(most), torch.where(now > most, number, last)))

    def read(self) -> Poison:
        """What was found so far; this waits for the device."""
        first = [_NEVER, _NEVER] if self._first is None else self._first.tolist()
        skips = [0, 0, 0] if self._skips is None else self._skips.tolist()
        return Poison(*first, *skips[1:])

    def _see(self, kind: int, value: Tensor, number: int) -> None:
        if self._first is None:
            self._first = torch.full((2,), _NEVER, dtype=torch.int64, device=value.device)
        first = self._first[kind]
        self._first[kind] = torch.where(value.isfinite(), first, first.clamp(max=number))


class StepGuard(Callback):
    """Ends a training with one line that names step, batch and the last good checkpoint.

    Raises:
        RunFault: from the hooks below, and from whoever asks for the weights once they are lost.
    """

    def __init__(self) -> None:
        self._hook: Any = None
        self._begin()

    def _begin(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._watch = Watch()
        self._number = 0  # of micro-batches since training started
        self._before = 0  # of those, before the last check
        self._positions: list[tuple[int, DataPosition | None]] = []  # by step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have everybody who asks for weights ask for a check first: whoever saves them does."""
        self._begin()
        self._hook = pl_module.register_state_dict_pre_hook(
            lambda *_: self.check(trainer, pl_module)
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        unfinished = pl_module.gradient_step.unfinished
        loader = trainer.train_dataloader
        position = loader.sampler.position if isinstance(loader, BatchLoader) else None
        self._positions.append((trainer.global_step + unfinished, position))
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            self._watch.loss(outputs["loss"], self._number)
        if not unfinished:
            see = self._watch.gradient if scaler is None else self._watch.skip
            see(pl_module.step_log.gradient_norm, self._number)
        self._number += 1
        if not unfinished and trainer.global_step % pl_module.log_every == 0:
            self.check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._hook is not None:
            self._hook.remove()

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read what the watch has seen.

        Raises:
            RunFault: a step was not finite, or fp16 no longer gets anywhere.
        """
        if not self._positions:
            return  # nothing was trained since
        found = self._watch.read()
        if min(found.loss, found.gradient) < _NEVER:
            raise self._poisoned(trainer, found)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            self._check_scale(trainer, scaler.get_scale(), found)
        self._before = self._number
        self._positions = []

    def _poisoned(self, trainer: Trainer, found: Poison) -> RunFault:
        by_loss = found.loss <= found.gradient
        step, position = self._positions[min(found.loss, found.gradient) - self._before]
        positions = [position] if by_loss else [p for s, p in self._positions if s == step]
        batches = [_named(trainer, p) for p in positions if p is not None]
        checkpoint = last_good_checkpoint(trainer)
        what = "loss" if by_loss else "gradient"
        return RunFault(
            f"the {what} of step {step:,} is not finite ({_in_words(batches)}); training stopped; "
            f"{how_to_go_on(checkpoint)}; lower the learning rate or add "
            "--trainer.gradient_clip_val 1",
            status="diverged",
            kind=what,
            step=step,
            batches=batches,
            checkpoint=str(checkpoint) if checkpoint else None,
        )

    def _check_scale(self, trainer: Trainer, scale: float, found: Poison) -> None:
        if found.skipped < SKIPPED_IN_A_ROW and scale >= SMALLEST_SCALE:
            return
        last = max(found.skipped_until - self._before, 0)
        step, position = self._positions[min(last, len(self._positions) - 1)]
        batches = [] if position is None else [_named(trainer, position)]
        checkpoint = last_good_checkpoint(trainer)
        raise RunFault(
            f"fp16 skipped {found.skipped} steps in a row up to step {step:,}, the loss scale is "
            f"{scale:g} ({_in_words(batches)}); training stopped; {how_to_go_on(checkpoint)}; use "
            "--trainer.precision bf16-mixed where the GPU has it, else 32-true or a lower rate",
            status="diverged",
            kind="skipped steps",
            step=step,
            skipped=found.skipped,
            loss_scale=scale,
            batches=batches,
            checkpoint=str(checkpoint) if checkpoint else None,
        )


def _named(trainer: Trainer, position: DataPosition) -> dict[str, Any]:
    """A batch by epoch and number, both from 0, and a hash of its token ids."""
    loader: Any = trainer.train_dataloader
    number = position.batches - 1  # the position is behind the batch
    batch = loader.batch_at(position.epoch, number)
    return {
        "epoch": position.epoch,
        "batch": number,
        "pairs": len(batch.index),
        "sha256": batch.fingerprint(),
    }


def _in_words(batches: list[dict[str, Any]]) -> str:
    if not batches:
        return "batch unknown"
    first, last = batches[0], batches[-1]
    numbers = f"batch {first['batch']}"
    if first is not last:
        numbers = f"batches {first['batch']} to {last['batch']}"
    return f"{numbers} of epoch {first['epoch']}, token ids {first['sha256'][:12]}"
