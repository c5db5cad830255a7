"""One gradient step, whatever the number of batches and devices, and what is logged of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from qvbench.models.loss import LOSS_UNIT, TokenTotals
from qvbench.training.machine import loss_scaler


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
        scaler = loss_scaler(trainer)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # Lightning leaves that to a fused optimizer's kernel, after clipping and logging.
            scaler.unscale_(optimizer)
        tokens = trainer.strategy.reduce(self._tokens, reduce_op="sum")
        factor = LOSS_UNIT * trainer.world_size * trainer.accumulate_grad_batches / tokens
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))
        self._tokens = None
        return tokens, gradients


class StepLog:
    """Sums over the optimizer steps since the last log line, which divides them once.

    Tensors are only read when a line is due; until then nothing waits for a GPU. Validation does
    not count into the throughput.

    Attributes:
        gradient_norm: of the last step, a scalar on its device; None before the first.
    """

    def __init__(self) -> None:
        self.gradient_norm: Tensor | None = None
        self._sums: Tensor | None = None  # (7,) float64
        self._tokens: Tensor | None = None
        self._rate = 0.0
        self._elapsed = 0.0
        self._since: float | None = None

    def start(self) -> None:
        self._elapsed, self._since = 0.0, time.perf_counter()

    def pause(self) -> None:
        if self._since is not None:
            self._elapsed += time.perf_counter() - self._since
            self._since = None

    def resume(self) -> None:
        self._since = time.perf_counter()

    def add(self, totals: TokenTotals, ids: Sequence[Tensor], padding_id: int) -> None:
        """Count a micro-batch: what it adds to the loss, and its tensors of token ids."""
        real = torch.stack([(tokens != padding_id).sum() for tokens in ids]).sum()
        padded = real.new_tensor(sum(tokens.numel() for tokens in ids))
        sums = torch.stack([value.detach().double() for value in (*totals, real, padded)])
        self._sums = sums if self._sums is None else self._sums + sums

    def end_step(self, tokens: Tensor, gradients: Sequence[Tensor], rate: float) -> None:
        """An optimizer step: its target tokens over all devices, normalized gradients, rate."""
        self._tokens = tokens.clone() if self._tokens is None else self._tokens + tokens
        norms = torch.stack(torch._foreach_norm(list(gradients)))
        self.gradient_norm = torch.linalg.vector_norm(norms)
        self._rate = rate

    def pending_target_tokens(self) -> int:
        return 0 if self._tokens is None else int(self._tokens)

    def state(self) -> dict[str, Any]:
        """What this process summed since the last line, for a run that is resumed in between."""
        tensors = {"sums": self._sums, "tokens": self._tokens, "gradient_norm": self.gradient_norm}
        kept = {n: t.to("cpu", copy=True) for n, t in tensors.items() if t is not None}
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return {**kept, "rate": self._rate, "elapsed": self._elapsed + running}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from :meth:`state`, after :meth:`start`."""
        moved = {n: v.to(device) for n, v in state.items() if isinstance(v, Tensor)}
        self._sums, self._tokens = moved.get("sums"), moved.get("tokens")
        self.gradient_norm = moved.get("gradient_norm")
        self._rate, self._elapsed = state["rate"], state["elapsed"]

    def line(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means of the steps since the last line, empty without steps; they start again.

        ``reduce`` sums a tensor over all devices.
        """
        if self._sums is None or self._tokens is None or self.gradient_norm is None:
            return {}
        self.pause()
        smoothed, nll, tokens, correct, sampled, real, padded = reduce(self._sums).tolist()
        line = {
            "train/loss": smoothed / tokens,
            "train/nll": nll / tokens,
            "train/accuracy": 100 * correct / sampled,
            "train/tokens_per_second": int(self._tokens) / max(self._elapsed, 1e-9),
            "train/padding_efficiency": real / padded,
            "train/grad_norm": float(self.gradient_norm),
            "train/lr": self._rate,
        }
        self._sums = self._tokens = None
        self.start()
        return line


def loss_scale(trainer: Trainer) -> dict[str, float]:
    """Scale and skipped steps of mixed fp16; empty in other precisions.

    The optimizer does not count a step whose gradients overflowed, Lightning does: the difference
    is what was skipped.
    """
    scaler = loss_scaler(trainer)
    if scaler is None:
        return {}
    states = trainer.optimizers[0].state.values()
    done = max((float(state["step"]) for state in states if "step" in state), default=0.0)
    return {
        "train/loss_scale": scaler.get_scale(),
        "train/skipped_steps": trainer.global_step - done,
    }
