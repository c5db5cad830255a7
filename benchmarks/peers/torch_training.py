"""The training loop around a plain PyTorch model: what its users write themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.protocol import Shape, Work, real_tokens

Loss = Callable[[Tensor, Tensor], Tensor]  # source (B, S) and target (B, T) to the mean loss


class TorchTraining:
    """Forward, loss, backward and optimizer step over all batches, with PyTorch's autocast.

    Args:
        work: batches and shape.
        model: on the device already.
        loss: the model's label-smoothed mean loss.
        optimizer: over the model's parameters.
        comparable: see :mod:`benchmarks.peers.protocol`.
    """

    def __init__(
        self,
        work: Work,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        comparable: str,
    ) -> None:
        shape, batches = work.shape, work.batches()
        self.comparable = comparable
        self.settings: dict[str, Any] = {
            "precision": shape.precision,
            "optimizer": type(optimizer).__name__,
            "fused": bool(optimizer.defaults.get("fused")),
            "threads": torch.get_num_threads(),
        }
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._shape = shape
        self._tokens = real_tokens(batches, shape.pad)
        self._batches = [
            (torch.from_numpy(s).to(shape.device), torch.from_numpy(t).to(shape.device))
            for s, t in batches
        ]
        self._scaler = torch.amp.GradScaler(shape.device, enabled=shape.precision == "16-mixed")
        torch.manual_seed(1)

    def check(self) -> dict[str, Any]:
        """The first batch's loss without dropout, in the weights' own precision."""
        self._model.eval()
        with torch.no_grad():
            return {"loss": float(self._loss(*self._batches[0]))}

    def repeat(self) -> int:
        """One step for each batch."""
        self._model.train()
        for source, target in self._batches:
            self._optimizer.zero_grad()
            with autocast(self._shape):
                loss = self._loss(source, target)
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._shape.device == "cuda":
            torch.cuda.synchronize()
        return self._tokens


def autocast(shape: Shape) -> AbstractContextManager[Any]:
    """What ``precision`` means in PyTorch."""
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if shape.precision not in dtypes:
        return nullcontext()
    return torch.autocast(shape.device, dtypes[shape.precision])


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) table with sine and cosine of an angle side by side, as ours has them."""
    positions = torch.arange(length, dtype=torch.float32)[:, None]
    columns = torch.arange(0, width, 2, dtype=torch.float32)
    angles = positions * torch.exp(columns * (-math.log(10000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)
