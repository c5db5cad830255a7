"""The suite's own programs, one module per kind of work (:data:`benchmarks.cases.UNITS`).

A module has ``export(folder, values, tolerance)``, which writes the folder of work and returns what
the programs' checks should give (:class:`benchmarks.checks.Expectation`), and is itself the suite's
program, started as ``python -m benchmarks.programs.KIND KIND FOLDER``. It speaks as the peers do:
:mod:`benchmarks.peers.protocol`. Its ``settings`` may have ``flops_per_item`` or
``bytes_per_item``, from which its share of the machine's rate is computed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from benchmarks.peers.protocol import Work
from qvbench.training.process import cache_few_kernels, keep_freed_memory

REPEAT_SECONDS = 0.3
"""Shorter work is done several times per repeat."""

PACKAGES = ["qvbench", "torch", "lightning", "numpy"]

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def values_of(work: Work) -> dict[str, Any]:
    """All of ``shape.json``."""
    values: dict[str, Any] = json.loads((work.folder / "shape.json").read_text(encoding="utf-8"))
    return values


def load_weights(module: nn.Module, work: Work) -> None:
    """The weights that all programs of a case start from."""
    module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in work.weights().items()})


def as_fit_does() -> dict[str, Any]:
    """Set memory up as ``qvbench fit`` does; returns the settings, for the record."""
    cache_few_kernels()
    return {"keeps_freed_memory": keep_freed_memory(), "threads": torch.get_num_threads()}


def autocast(values: dict[str, Any]) -> AbstractContextManager[Any]:
    """The context of ``precision`` where there is no Trainer."""
    dtype = DTYPES[values["precision"]]
    return nullcontext() if dtype == torch.float32 else torch.autocast(values["device"], dtype)


def synchronize(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


class Several:
    """Short work, done as often per repeat as it takes to be timed well.

    Args:
        action: the work.
        items: per call of it.
        device: that it runs on.
    """

    def __init__(self, action: Callable[[], Any], items: int, device: str) -> None:
        self._action, self._items, self._device = action, items, device
        self._times = 0

    def repeat(self) -> int:
        """Do it; returns the number of items."""
        if not self._times:
            self._seconds(1)
            self._times = max(1, min(10_000, math.ceil(REPEAT_SECONDS / self._seconds(1))))
        self._seconds(self._times)
        return self._times * self._items

    def _seconds(self, times: int) -> float:
        synchronize(self._device)
        start = time.perf_counter()
        for _ in range(times):
            self._action()
        synchronize(self._device)
        return time.perf_counter() - start
