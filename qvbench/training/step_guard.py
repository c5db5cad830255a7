"""Stops a training whose numbers are no longer finite, without waiting for a GPU at any step.

Under float32 and bfloat16 one loss or gradient that is not finite makes all weights NaN. Which was
the first is kept as two numbers on the device, and read where training waits in any case: at log
lines, before validations, at the end, and whenever somebody asks for the weights to save them.
Under fp16 such a step is skipped and the loss scale halved, which is no error until the scale is of
no use.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qvbench.data.loader import BatchLoader, DataPosition
from qvbench.training.faults import RunFault, how_to_go_on, last_good_checkpoint

SMALLEST_SCALE = 2.0**-14
"""Loss scale that ends a training: fp16's smallest normal number. Below it the scale shrinks even
gradients of 1 into fp16's subnormal range, and a healthy training never comes near (it starts at
2^16, which 31 skipped steps in a row use up)."""

LOSS, GRADIENT = 0, 1
_NEVER = 1 << 62


class FiniteCheck:
    """The first micro-batch whose loss or gradient is not finite, kept where the values are."""

    def __init__(self) -> None:
        self._first: Tensor | None = None  # (2,): by loss, by gradient

    def see(self, kind: int, value: Tensor, number: int) -> None:
        """Look at a loss, or the norm of a gradient, without synchronizing.

        Args:
            kind: ``LOSS`` or ``GRADIENT``.
            value: scalar.
            number: of the micro-batch; for a gradient, of the last one of its step.
        """
        if self._first is None:
            self._first = torch.full((2,), _NEVER, dtype=torch.int64, device=value.device)
        first = self._first[kind]
        self._first[kind] = torch.where(value.isfinite(), first, first.clamp(max=number))

    def first(self) -> tuple[int, int] | None:
        """Kind and number of the first that was not finite, None if all were; synchronizes."""
        found = [_NEVER] if self._first is None else self._first.tolist()
        number = min(found)
        return None if number == _NEVER else (found.index(number), number)


class StepGuard(Callback):
    """Ends a training with one line that names step, batch and the last good checkpoint.

    Raises:
        RunFault: from the hooks below, and where weights that are not finite are read.
    """

    def __init__(self) -> None:
        self._hook: Any = None
        self._begin()

    def _begin(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._check = FiniteCheck()
        self._number = 0  # of micro-batches since training started
        self._before = 0  # of those, before the last check
        self._positions: list[tuple[int, DataPosition | None]] = []  # by step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before weights are read, as everything does that saves them."""
        self._begin()
        self._hook = pl_module.register_state_dict_pre_hook(
            lambda *_: self.check(trainer, pl_module)
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
    ) -> None:
        unfinished = pl_module.gradient_step.unfinished
        loader = trainer.train_dataloader
        position = loader.sampler.position if isinstance(loader, BatchLoader) else None
        self._positions.append((trainer.global_step + unfinished, position))
        if _scaler(trainer) is None:
            self._check.see(LOSS, outputs["loss"], self._number)
            if not unfinished:
                self._check.see(GRADIENT, pl_module.step_log.gradient_norm, self._number)
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
        """Read what was seen so far.

        Raises:
            RunFault: a step was not finite, or the loss scale of fp16 is of no use.
        """
        if not self._positions:
            return  # nothing was trained since
        found = self._check.first()
        if found is not None:
            raise self._not_finite(trainer, *found)
        scaler = _scaler(trainer)
        if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            raise self._collapsed(trainer, scaler.get_scale())
        self._before = self._number
        self._positions = []

    def _not_finite(self, trainer: Trainer, kind: int, number: int) -> RunFault:
        step, position = self._positions[number - self._before]
        positions = [position] if kind == LOSS else [p for s, p in self._positions if s == step]
        what = ("loss", "gradient")[kind]
        batches = [_named(trainer, p) for p in positions if p is not None]
        return _ended(
            trainer,
            f"the {what} of step {step:,} is not finite ({_in_words(batches)})",
            "lower the learning rate or add --trainer.gradient_clip_val 1",
            kind=what,
            step=step,
            batches=batches,
        )

    def _collapsed(self, trainer: Trainer, scale: float) -> RunFault:
        step, position = self._positions[-1]
        batches = [] if position is None else [_named(trainer, position)]
        return _ended(
            trainer,
            f"fp16 skips one step after another; at step {step:,} the loss scale is {scale:g} "
            f"({_in_words(batches)})",
            "use --trainer.precision bf16-mixed where the GPU has it, else 32-true or a lower rate",
            kind="skipped steps",
            step=step,
            loss_scale=scale,
            batches=batches,
        )


def _scaler(trainer: Trainer) -> Any:
    """The loss scale of fp16, None in other precisions."""
    return getattr(trainer.precision_plugin, "scaler", None)


def _ended(trainer: Trainer, what: str, remedy: str, **facts: Any) -> RunFault:
    checkpoint = last_good_checkpoint(trainer)
    return RunFault(
        f"{what}; training stopped; {how_to_go_on(checkpoint)}; {remedy}",
        status="diverged",
        checkpoint=str(checkpoint) if checkpoint else None,
        **facts,
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
