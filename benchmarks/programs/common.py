"""What the suite's programs have in common."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.protocol import Work
from qvbench.training.allocator import cache_few_kernels, keep_freed_memory

REPEAT_SECONDS = 0.3
"""Shorter work is done several times in a repeat."""

PACKAGES = ["qvbench", "torch", "lightning", "numpy"]

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def values_of(work: Work) -> dict[str, Any]:
    """All of ``shape.json``."""
    values: dict[str, Any] = json.loads((work.folder / "shape.json").read_text(encoding="utf-8"))
    return values


def load_weights(module: nn.Module, work: Work) -> None:
    """The weights that everybody starts from."""
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in work.weights().items()})


def as_fit_does() -> dict[str, Any]:
    """Set memory up as ``qvbench fit`` does; for the record."""
    cache_few_kernels()
    return {"keeps_freed_memory": keep_freed_memory(), "threads": torch.get_num_threads()}


def autocast(values: dict[str, Any]) -> AbstractContextManager[Any]:
    """What ``precision`` means where there is no Trainer."""
    dtype = DTYPES[values["precision"]]
    return nullcontext() if dtype == torch.float32 else torch.autocast(values["device"], dtype)


def wait(device: str) -> None:
    """Until the device has done what it was asked to."""
    if device == "cuda":
        torch.cuda.synchronize()


class Several:
    """Short work, done as often in a repeat as takes long enough to be timed.

    Args:
        action: the work.
        items: of one time.
        device: that it runs on.
    """

    def __init__(self, action: Callable[[], Any], items: int, device: str) -> None:
        self._action, self._items, self._device = action, items, device
        self._times = 0

    def repeat(self) -> int:
        """Do it; how many items that was."""
        if not self._times:
            self._times = self._calibrated()
        for _ in range(self._times):
            self._action()
        wait(self._device)
        return self._times * self._items

    def _calibrated(self) -> int:
        self._action()
        wait(self._device)
        start = time.perf_counter()
        self._action()
        wait(self._device)
        seconds = time.perf_counter() - start
        return max(1, min(10_000, math.ceil(REPEAT_SECONDS / seconds)))
