"""Dropout that does not dominate a small model's step on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16
_SAME_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _SixteenBitDropout(torch.autograd.Function):
    """Dropout from 16 random bits per element, four elements to one draw of the generator.

    PyTorch's CPU kernel draws a double per element and takes most of a small layer's time. The
    probability is rounded to a multiple of 2^-16.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        # All ones where an element stays: PyTorch multiplies by booleans ten times more slowly
        # than it takes bits away.
        keep = bits.ge_(round(p * _LEVELS) - _LEVELS // 2).neg_()
        ctx.save_for_backward(keep)
        ctx.scale = 1.0 / (1.0 - p)
        return _kept(x, keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _kept(grads[0], keep).mul_(ctx.scale), None


def _kept(x: Tensor, keep: Tensor) -> Tensor:
    """A copy of ``x`` with zeros where the int16 ``keep`` is 0, not -1."""
    integer = _SAME_SIZE[x.itemsize]
    return (x.contiguous().view(integer) & keep.to(integer)).view(x.dtype)


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability ``p`` in [0, 1) and scale the rest by ``1 / (1 - p)``."""
    if p == 0.0:
        return x
    coarse = p > 1 - 1 / _LEVELS  # 16 bits would round it to one
    if x.device.type != "cpu" or torch.compiler.is_compiling() or coarse:
        return F.dropout(x, p)
    result: Tensor = _SixteenBitDropout.apply(x, p)
    return result


class Dropout(nn.Module):
    """:func:`dropout` in training, the identity in evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
