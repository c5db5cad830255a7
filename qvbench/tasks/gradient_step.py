"""One gradient step, whatever the number of batches and devices, also resumed in its midst."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from qvbench.models.loss import LOSS_UNIT, TokenTotals


class GradientStep:
    """Turns gradients of summed losses into that of the mean over the whole step's tokens."""

    def __init__(self) -> None:
        self._tokens: Tensor | None = None  # of this process, in the micro-batches so far

    @property
    def unfinished(self) -> bool:
        """Whether micro-batches were added since the last step."""
        return self._tokens is not None

    def loss(self, totals: TokenTotals) -> Tensor:
        """Add a micro-batch: the scalar whose gradient is to be accumulated."""
        tokens = totals.tokens
        self._tokens = tokens if self._tokens is None else self._tokens + tokens
        return totals.smoothed / LOSS_UNIT

    def finish(self, module: LightningModule, optimizer: Optimizer) -> tuple[Tensor, list[Tensor]]:
        """Divide the gradients by the target tokens of the whole step, over all devices.

        Takes out the divisors so far: ``LOSS_UNIT``, the number of accumulated batches
        (Lightning's), the number of devices (DDP averages gradients).

        Returns:
            The step's target tokens over all devices, and the gradients, normalized in place.
        """
        assert self._tokens is not None
        trainer = module.trainer
        _unscale(trainer, optimizer)
        world = trainer.world_size
        tokens = trainer.strategy.reduce(self._tokens, reduce_op="sum")
        factor = LOSS_UNIT * world * trainer.accumulate_grad_batches / tokens
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))
        self._tokens = None
        return tokens, gradients

    def state(self, module: LightningModule) -> dict[str, Any]:
        """What a checkpoint within a step keeps of it, summed over devices: a collective operation.

        Validation counts batches over all epochs, accumulation counts them within one: a
        checkpoint that is written after a validation can fall between two micro-batches.
        """
        if self._tokens is None:
            return {}
        named = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        gradients = {name: gradient.clone() for name, gradient in named.items()}
        tokens = self._tokens.clone()
        for tensor in (tokens, *gradients.values()):
            module.trainer.strategy.reduce(tensor, reduce_op="sum")  # in place
        return {"tokens": tokens, "gradients": gradients}

    def restore(self, state: dict[str, Any], module: LightningModule) -> None:
        """Continue from :meth:`state`: the first process gets all that was accumulated."""
        self._tokens = None
        if not state:
            return
        first = module.trainer.is_global_zero
        self._tokens = state["tokens"].to(module.device) * int(first)
        parameters = dict(module.named_parameters())
        for name, gradient in state["gradients"].items():
            parameters[name].grad = gradient.to(module.device) * float(first)


def _unscale(trainer: Trainer, optimizer: Optimizer) -> None:
    """Take fp16's loss scale out of the gradients of a fused optimizer.

    Lightning leaves that to the optimizer's own kernel, after clipping and logging: the norm in
    the log would be that of the scaled gradients. For other optimizers Lightning does it before.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)
