"""Which machine and code results are from; no host name, no path."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import ROOT
from qvbench.runs.record import git_revision, versions
from qvbench.training.hardware import describe_hardware

PEERS_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""glibc's settings for peers: those that ``qvbench fit`` makes for itself."""

ALLOCATOR = (
    "glibc keeps freed memory in every program: ours sets that itself "
    "(`qvbench/training/process.py`), peers are started with "
    + " ".join(f"{name}={value}" for name, value in PEERS_ALLOCATOR.items())
    + ". oneDNN keeps 64 compiled kernels in ours and its default number in peers."
)


def kind(device: str, threads: int) -> str:
    """The folder of a kind of machine: ``cpu-2-threads-intel-xeon-processor``."""
    if device == "cuda":
        return f"cuda-{slug(torch.cuda.get_device_name())}"
    model = describe_hardware()["cpu"] or platform.machine()
    return f"cpu-{threads}-thread{'s' if threads != 1 else ''}-{slug(model)}"


def slug(text: str) -> str:
    """Letters and digits in lower case, joined by hyphens, without trade marks."""
    plain = re.sub(r"\((?:R|TM|C)\)", " ", text, flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9.]+", plain.lower()))


def environment(threads: int, peer: bool) -> dict[str, str]:
    """Variables of a program: the same number of threads for all."""
    number = str(threads)
    shared = {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number, "PYTHONUNBUFFERED": "1"}
    return {**shared, **PEERS_ALLOCATOR} if peer else shared


def available_memory() -> int | None:
    """Bytes that programs can have without others losing theirs; ``None`` if unknown."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(text.split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None


def about(threads: int, command: str) -> dict[str, Any]:
    """What goes into every raw result."""
    return {
        "command": command,
        "commit": git_revision(),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": {**describe_hardware(), "threads": threads},
        "load_average_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "kernel": platform.release() if sys.platform == "linux" else platform.platform(),
        "versions": versions(),
        "allocator": ALLOCATOR,
    }


def without_paths(value: Any) -> Any:
    """The same, with only the last part of every absolute path in its texts."""
    if isinstance(value, str):
        text = value.replace(f"{ROOT}{os.sep}", "")
        return re.sub(r"(?<![\w.])(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)
    if isinstance(value, Mapping):
        return {name: without_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return value
