"""What was tried instead of what the suite does, so that anybody can try it again.

A trial swaps one part of training for the alternative while its program is made and runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qvbench.attention import core
from qvbench.attention import dropout as own_dropout
from qvbench.models import loss
from qvbench.tasks import base
from qvbench.tasks.translation import TranslationTask

Trial = Callable[[TranslationTask], None]


def plain_dropout(task: TranslationTask) -> None:
    """PyTorch's own dropout on the CPU."""
    _replace("dropout", lambda x, p: F.dropout(x, p))


def no_dropout(task: TranslationTask) -> None:
    """None at all: no alternative, but the most that another dropout could save."""
    _replace("dropout", lambda x, p: x)


def _replace(name: str, other: Callable[..., Tensor]) -> None:
    setattr(own_dropout, name, other)
    setattr(core, name, other)


def half_precision_kernel(task: TranslationTask) -> None:
    """PyTorch's attention kernel in the precision of its inputs, its backward pass too."""

    def attend(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        causal: bool,
        bias: Tensor | None,
        dropout_p: float,
    ) -> Tensor:
        allowed = core.combine_masks(mask, causal, q.shape[2], k.shape[2], q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout_p)

    core._attend_by_sdpa = attend


def all_logits_at_once(task: TranslationTask) -> None:
    """Output layer and loss without chunks."""
    loss.CHUNK_ROWS = 1 << 30


def plain_loss(task: TranslationTask) -> None:
    """PyTorch's linear layer and cross entropy, by autograd."""

    def totals(
        hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> loss.TokenTotals:
        logits = F.linear(hidden, weight, bias).float()
        smoothed = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
        count = torch.tensor(float(len(targets)), dtype=torch.float64)
        nothing = torch.zeros((), dtype=torch.float64)
        return loss.TokenTotals(smoothed, smoothed.detach().double(), count, nothing, count)

    base.training_totals = totals


def separate_adam(task: TranslationTask) -> None:
    """Adam a tensor at a time."""
    recipe = task.optimizer

    def build(parameters: Any) -> torch.optim.Optimizer:
        optimizer = recipe(parameters)
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, False
        optimizer.defaults["fused"] = False
        return optimizer

    task.optimizer = build


def compiled(task: TranslationTask) -> None:
    """The network through ``torch.compile`` with dynamic shapes."""
    assert task.network is not None
    task.network.compile(dynamic=True)


TRIALS: dict[str, Trial] = {
    "PyTorch's dropout": plain_dropout,
    "no dropout": no_dropout,
    "attention kernel in bfloat16": half_precision_kernel,
    "all logits at once": all_logits_at_once,
    "PyTorch's loss": plain_loss,
    "Adam a tensor at a time": separate_adam,
    "torch.compile": compiled,
}
