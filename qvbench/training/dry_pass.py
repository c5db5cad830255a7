"""The largest batches forward and backward before the first step, to see if they fit.

Shape letters: B pairs, L tokens of the longer side with the end token.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from qvbench.data.batching import Batch, Shape
from qvbench.data.loader import BatchLoader
from qvbench.data.text import Vocabulary
from qvbench.models.loss import LOSS_UNIT, training_totals
from qvbench.training.faults import LESS_MEMORY, RunFault, explain
from qvbench.training.run_record import note

DEVICES = {"auto": ("cuda",), "always": ("cuda", "cpu", "mps"), "never": ()}
"""On which kinds of device each value of ``--dry_pass`` means one."""


class DryPass(Callback):
    """Finds out before the first step whether memory is enough for the largest batches.

    The batch with the most padded tokens, and the one with the longest sentences, with both sides
    as long as the longer: no batch of any epoch takes more. Gradients are made and thrown away; on
    a GPU, room is held for two moments a parameter while the optimizer has none. Weights,
    gradients, counters and random numbers stay as they were. The record of the run gets the
    shapes and the peak of memory: what tensors took on a GPU, what the process took on a CPU.

    Args:
        devices: kinds of device on which to do it, such as ``cuda``.

    Raises:
        RunFault: memory is not enough; the message says what to lower.
    """

    def __init__(self, devices: Sequence[str] = DEVICES["auto"]) -> None:
        self.devices = devices

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        loader = trainer.train_dataloader
        device = pl_module.device
        if device.type not in self.devices or not isinstance(loader, BatchLoader):
            return
        shapes = loader.largest_shapes()
        gpus = [device] if device.type == "cuda" else []
        if gpus:
            torch.cuda.reset_peak_memory_stats(device)
        with torch.random.fork_rng(devices=gpus), _room_for_moments(trainer, device):
            for shape in shapes:
                _try(trainer, pl_module, shape)
        facts = {
            "largest_batches": [list(shape) for shape in shapes],
            "peak_gib": round(peak_memory(device) / 2**30, 3),
        }
        note(trainer, dry_pass=facts)


def _try(trainer: Trainer, module: Any, shape: Shape) -> None:
    """A batch of a shape (B, L), forward and backward.

    Raises:
        RunFault: out of memory.
    """
    try:
        with trainer.precision_plugin.forward_context():
            totals = module.score(module(batch_of(shape, module.device)), training_totals)
        parameters = [p for p in module.parameters() if p.requires_grad]
        # not backward(): that would add to .grad, and tell other processes that a step has begun
        torch.autograd.grad(totals.smoothed / LOSS_UNIT, parameters, allow_unused=True)
    except RuntimeError as error:
        fault = explain(error)
        if not isinstance(fault, RunFault) or fault.facts.get("kind") != "memory":
            raise
        raise RunFault(
            f"out of memory on the largest batch, {shape.pairs} pairs of {shape.length} tokens a "
            f"side, tried before training (data.max_tokens is {module.data.max_tokens}): "
            f"{LESS_MEMORY}",
            kind="memory",
            batch=list(shape),
        ) from error


def batch_of(shape: Shape, device: torch.device) -> Batch:
    """A batch of a shape (B, L) without padding; which tokens it has makes no difference."""
    pairs, length = shape

    def rows(columns: int) -> Tensor:
        return torch.full((pairs, columns), Vocabulary.unk, device=device)

    return Batch(rows(length), rows(length + 1), torch.arange(pairs, device=device))


def peak_memory(device: torch.device) -> int:
    """Most bytes so far: of tensors on a GPU, else of the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def _room_for_moments(trainer: Trainer, device: torch.device) -> Iterator[None]:
    """What Adam will keep of every parameter, where it is not there yet; on a GPU only."""
    fresh = [optimizer for optimizer in trainer.optimizers if not optimizer.state]
    held = [
        torch.empty_like(parameter)
        for optimizer in (fresh if device.type == "cuda" else [])
        for group in optimizer.param_groups
        for parameter in group["params"] * 2
    ]
    yield
    del held


def dry_pass(when: str) -> DryPass:
    """The callback for a value of ``--dry_pass``."""
    return DryPass(DEVICES[when])
