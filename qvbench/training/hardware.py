"""What this machine has, and whether it is what a config asks for."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from qvbench.data.preprocessing import usable_cores
from qvbench.errors import UserError

ON_CPU = "--trainer.accelerator cpu --trainer.precision bf16-mixed"
"""The override that runs on any machine: fp16 does not work on a CPU, bfloat16 does."""

_PROCESSES = 8  # that any CPU may be asked to run one training in

_GPU = ("gpu", "cuda")
_HALF = ("16", "16-mixed", "16-true")


def check_hardware(accelerator: Any, devices: Any, precision: Any) -> None:
    """Refuse what this machine cannot give, before Lightning starts anything.

    Args:
        accelerator: ``trainer.accelerator`` of the config.
        devices: ``trainer.devices`` of the config.
        precision: ``trainer.precision`` of the config.

    Raises:
        UserError: one line that says what is missing and which override works here.
    """
    if accelerator not in (*_GPU, "auto", "cpu"):
        return  # another kind of device: Lightning knows better
    present = 0 if accelerator == "cpu" else torch.cuda.device_count()
    if accelerator in _GPU and not present and not _metal(accelerator):
        raise UserError(
            f"trainer.accelerator: {accelerator} is asked for, but no GPU is visible here; "
            f"to run on the CPU add {_cpu_override(devices)}"
        )
    if present:
        _check_gpus(devices, present)
    elif not _metal(accelerator):
        _check_processes(devices)
    if not present and str(precision) in _HALF and not _metal(accelerator):
        where = "a CPU" if accelerator == "cpu" else "a CPU, and no GPU is visible here"
        raise UserError(
            f"trainer.precision: {precision} does not run on {where}; add {_cpu_override(devices)}"
        )


def _check_processes(devices: Any) -> None:
    """A device of a CPU is a process: a few are good for trying things out, many only swap."""
    number = int(devices) if str(devices).isdigit() else 1
    most = max(_PROCESSES, os.cpu_count() or 1)
    if number > most:
        raise UserError(
            f"trainer.devices: {number} asked for, but no GPU is used, and this machine takes "
            f"{most} processes on its CPU at most; add --trainer.devices 1"
        )


def _check_gpus(devices: Any, present: int) -> None:
    try:
        indices = CUDAAccelerator.parse_devices(-1 if devices == "auto" else devices) or []
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.devices: {devices} asked for, but {present} visible here, counted from 0; "
            f"add --trainer.devices {present}"
        ) from error
    built_for = torch.cuda.get_arch_list()
    for index in indices:
        capability = torch.cuda.get_device_capability(index)
        if built_for and not any(_serves(arch, capability) for arch in built_for):
            raise UserError(_no_kernels(index, capability, built_for))


def _serves(arch: str, capability: tuple[int, int]) -> bool:
    """Whether code built for ``arch`` (``sm_80``, ``compute_90``) runs on such a device."""
    kind, _, number = arch.partition("_")
    digits = number.rstrip("af")
    major, minor = int(digits[:-1]), int(digits[-1])
    if kind == "compute":  # intermediate code, which the driver compiles for any later device
        return (major, minor) <= capability
    return major == capability[0] and minor <= capability[1]


def _no_kernels(index: int, capability: tuple[int, int], built_for: Sequence[str]) -> str:
    name = torch.cuda.get_device_name(index)
    remedy = "install a build of PyTorch for it"
    if capability == (7, 0):
        remedy = (
            "install PyTorch's cu126 wheel (the last to serve a V100; up to PyTorch 2.10 cu128 "
            "does too)"
        )
    return (
        f"trainer.accelerator: PyTorch {torch.__version__} has no code for GPU {index}, {name} "
        f"(sm_{capability[0]}{capability[1]}), only for {', '.join(built_for)}; {remedy}, or run "
        f"on the CPU with {ON_CPU}"
    )


def _cpu_override(devices: Any) -> str:
    one = devices in ("auto", 1, "1")
    return ON_CPU if one else f"{ON_CPU} --trainer.devices 1"


def _metal(accelerator: str) -> bool:
    return accelerator != "cuda" and accelerator != "cpu" and torch.backends.mps.is_available()


def describe_hardware() -> dict[str, Any]:
    """Processor, memory and GPUs, for the record of a run; sizes in GiB."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpus": [
            {
                "name": torch.cuda.get_device_name(index),
                "memory_gib": round(
                    torch.cuda.get_device_properties(index).total_memory / 2**30, 1
                ),
            }
            for index in range(torch.cuda.device_count())
        ],
    }


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
