"""What is logged of training: sums between two log lines, divided once, never waiting for a GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qvbench.models.loss import TokenTotals


class StepLog:
    """Sums over the optimizer steps since the last log line.

    Tensors are only read when a line is due; until then nothing is synchronised. Validation does
    not count into the throughput.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._tokens: Tensor | None = None
        self._gradient_norm: Tensor | None = None
        self._elapsed = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Training starts: the clock runs from here."""
        self._elapsed, self._since = 0.0, time.perf_counter()

    def pause(self) -> None:
        """Stop the clock."""
        if self._since is not None:
            self._elapsed += time.perf_counter() - self._since
            self._since = None

    def resume(self) -> None:
        """Let the clock go on."""
        self._since = time.perf_counter()

    def add(self, batch: Any, totals: TokenTotals) -> None:
        """Count a micro-batch."""
        padded = batch.source.numel() + batch.target.numel()
        real = (batch.source != 0).sum() + (batch.target != 0).sum()
        values = (*totals, real, real.new_tensor(padded))
        sums = torch.stack([value.detach().double() for value in values])
        self._sums = sums if self._sums is None else self._sums + sums

    def end_step(self, tokens: Tensor, gradients: Sequence[Tensor]) -> None:
        """An optimizer step: its target tokens over all devices, its normalised gradients."""
        self._tokens = tokens.clone() if self._tokens is None else self._tokens + tokens
        self._gradient_norm = gradient_norm(gradients)

    def pending_target_tokens(self) -> int:
        """Target tokens of the steps since the last line."""
        return 0 if self._tokens is None else int(self._tokens)

    @property
    def gradient_norm(self) -> Tensor | None:
        """Of the last step, on its device."""
        return self._gradient_norm

    def state(self) -> dict[str, Any]:
        """What was summed since the last line, for a run that is taken up in between."""
        tensors = {"sums": self._sums, "tokens": self._tokens, "gradient_norm": self._gradient_norm}
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        kept = {name: value.clone() for name, value in tensors.items() if value is not None}
        return {**kept, "elapsed": self._elapsed + running}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from :meth:`state`, after :meth:`start`."""
        moved = {n: v.to(device) for n, v in state.items() if isinstance(v, Tensor)}
        self._sums, self._tokens = moved.get("sums"), moved.get("tokens")
        self._gradient_norm = moved.get("gradient_norm")
        self._elapsed = state.get("elapsed", 0.0)

    def values(self, task: Any) -> dict[str, float]:
        """The line, in the names that every logger gets; sums start again."""
        if self._sums is None or self._tokens is None or self._gradient_norm is None:
            return {}
        self.pause()
        smoothed, nll, tokens, correct, judged, real, padded = self._sums.tolist()
        new_tokens = int(self._tokens)
        line = {
            "train/loss": smoothed / tokens,
            "train/nll": nll / tokens,
            "train/accuracy": 100 * correct / judged,
            "train/tokens_per_second": new_tokens / max(self._elapsed, 1e-9),
            "train/padding_efficiency": real / padded,
            "train/grad_norm": float(self._gradient_norm),
            "train/lr": task.optimizers().param_groups[0]["lr"],
            "new_target_tokens": float(new_tokens),
            **loss_scale(task),
        }
        self._sums = self._tokens = None
        self.start()
        return line


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))


def loss_scale(task: Any) -> dict[str, float]:
    """Scale and skipped steps of mixed fp16; nothing in other precisions.

    The optimizer does not count a step whose gradients overflowed, Lightning does: the difference
    is what was skipped.
    """
    scaler = getattr(task.trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return {}
    states = task.optimizers().state.values()
    done = max((float(state["step"]) for state in states if "step" in state), default=0.0)
    skipped = task.trainer.global_step - done
    return {"train/loss_scale": scaler.get_scale(), "train/skipped_steps": skipped}
