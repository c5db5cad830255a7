"""Which machine and code results are from; no host's name, no path."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.process import ROOT
from qvbench.runs.provenance import git_revision, versions
from qvbench.training.hardware import describe_hardware

PEERS_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""What glibc is told for peers: the same as ``qvbench fit`` tells it for itself."""

ALLOCATOR = (
    "glibc keeps freed memory in every program: ours says so itself "
    "(`qvbench/training/allocator.py`), peers are started with "
    + " ".join(f"{name}={value}" for name, value in PEERS_ALLOCATOR.items())
    + ". oneDNN keeps 64 compiled kernels in ours and its default number in peers."
)


def kind(device: str, threads: int) -> str:
    """The name of a machine's kind: ``cpu-2-threads-intel-xeon-processor``."""
    if device == "cuda":
        return f"cuda-{slug(torch.cuda.get_device_name())}"
    model = describe_hardware()["cpu"] or platform.machine()
    return f"cpu-{threads}-thread{'s' if threads != 1 else ''}-{slug(model)}"


def slug(text: str) -> str:
    """Letters and digits in lower case, joined by hyphens; no trade marks."""
    plain = re.sub(r"\((?:R|TM|C)\)", " ", text, flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9.]+", plain.lower()))


def environment(threads: int, peer: bool) -> dict[str, str]:
    """Variables of a program: the same threads for all."""
    number = str(threads)
    shared = {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number, "PYTHONUNBUFFERED": "1"}
    return {**shared, **PEERS_ALLOCATOR} if peer else shared


def about(threads: int, command: str) -> dict[str, Any]:
    """What goes into every raw result."""
    hardware = {**describe_hardware(), "threads": threads}
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "command": command,
        "commit": git_revision(),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware,
        "load_average_before": load,
        "kernel": platform.release() if sys.platform == "linux" else platform.platform(),
        "versions": versions(),
        "allocator": ALLOCATOR,
    }


def without_paths(value: Any) -> Any:
    """The same with the last part alone of every absolute path in its texts."""
    if isinstance(value, str):
        text = value.replace(f"{ROOT}{os.sep}", "")
        return re.sub(r"(?<![\w.])(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)
    if isinstance(value, Mapping):
        return {name: without_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return value
