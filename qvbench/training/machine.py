"""What this machine has, how a run uses it, and what it can run out of, as one line."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import timeit
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from qvbench.data.preprocessing import usable_cores
from qvbench.errors import DISK_FULL, UserError, is_out_of_memory

log = logging.getLogger(__name__)

ON_CPU = "--trainer.accelerator cpu --trainer.precision 32-true"
"""The override that runs well on any machine: a CPU has no fp16, and not every one has bfloat16."""

_PROCESSES = 8  # that any CPU may be asked to run one training in
_WORKER = re.compile(r"DataLoader worker .*?(?:killed by signal: ([\w ]+)|exited unexpectedly)")


class RunFault(UserError):
    """An error that ends a training: one line, and what the run's record keeps of it as data."""

    def __init__(self, message: str, status: str = "failed", **facts: Any) -> None:
        super().__init__(message)
        self.status = status
        self.facts = facts


def explain(error: BaseException, batch_shapes: Sequence[tuple[int, ...]] = ()) -> UserError | None:
    """An exception as one line for the user; None where it is a bug of the suite.

    ``batch_shapes`` are of the token ids that the training was at, (B, L) each.
    """
    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        sides = " and ".join(f"{rows} x {length}" for rows, length in batch_shapes)
        where, lower = f" on a batch of {sides} tokens", "--data.max_tokens (with as much more "
        lower += "--trainer.accumulate_grad_batches a step stays the same)"
        if not sides:  # no batch is being trained on: an evaluation
            where, lower = "", "--data.eval_max_tokens"
        remedy = f"lower {lower}, or take --trainer.precision 16-mixed or bf16-mixed"
        return RunFault(f"out of memory{where}: {remedy}", kind="memory")
    worker = _WORKER.search(str(error)) if isinstance(error, RuntimeError) else None
    if worker:
        how = f"was killed (signal: {worker[1]})" if worker[1] else "ended without a word"
        return RunFault(
            f"a process that prepares batches {how}; mostly that is the system short of memory: "
            "lower --data.num_workers (0 needs no such process), then go on with --ckpt_path last",
            kind="worker",
        )
    if "no kernel image is available" in str(error):
        major, minor = torch.cuda.get_device_capability()
        return RunFault(
            f"PyTorch {torch.__version__} has no code for {torch.cuda.get_device_name()} "
            f"(sm_{major}{minor}); install a build of PyTorch for it (a V100's last is the cu126 "
            f"wheel), or run on the CPU with {ON_CPU}",
            kind="gpu",
        )
    if is_full(error):
        file = getattr(error, "filename", None) or "the folder of the run"
        what = f"{file}: the disk is full; free some space, then go on with --ckpt_path last"
        return RunFault(what, kind="disk")
    if isinstance(error, MisconfigurationException) or _is_lightnings(error):
        return RunFault(f"trainer: {' '.join(str(error).split())}", kind="trainer")
    return None


def _is_lightnings(error: BaseException) -> bool:
    """Whether Lightning's own code refused something, such as a metric that is not logged."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    refused = type(error) in (ValueError, RuntimeError) and "CUDA" not in str(error)
    return refused and bool(modules) and modules[-1].startswith("lightning.")


def is_full(error: BaseException | None) -> bool:
    """Whether the disk was full; torch's writer says so without the system's error number."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in DISK_FULL
        if full or "PytorchStreamWriter failed writing" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_hardware(accelerator: Any, devices: Any, precision: Any) -> None:
    """Refuse what the trainer's settings ask for and this machine lacks, before Lightning starts:
    a UserError that says which override works here. A warning where it would only be slow."""
    cuda, apple = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"cpu": False, "mps": False, "cuda": cuda, "gpu": cuda, "auto": cuda}
    if not isinstance(accelerator, str) or there.get(accelerator, True):
        return  # another kind of device: Lightning knows better
    override = ON_CPU if devices in ("auto", 1, "1") else f"{ON_CPU} --trainer.devices 1"
    if accelerator == "mps" or (apple and accelerator in ("gpu", "auto")):
        what = f"trainer.accelerator: {accelerator} is an Apple GPU, which has no float64, in which"
        raise UserError(f"{what} losses are summed; to run on the CPU add {override}")
    if accelerator in ("gpu", "cuda"):
        what = f"trainer.accelerator: {accelerator} is asked for, but no GPU is visible here"
        raise UserError(f"{what}; to run on the CPU add {override}")
    if str(precision) in ("16", "16-mixed", "16-true"):
        where = "a CPU" if accelerator == "cpu" else "a CPU, and no GPU is visible here"
        raise UserError(f"trainer.precision: {precision} does not run on {where}; add {override}")
    processes, most = str(devices), max(_PROCESSES, os.cpu_count() or 1)
    if processes.isdigit() and int(processes) > most:  # a few are good for trying things out
        raise UserError(
            f"trainer.devices: {devices} asked for, but no GPU is used, and this machine takes "
            f"{most} processes on its CPU at most; add --trainer.devices 1"
        )
    if str(precision).startswith("bf16") and (times := bfloat16_slowdown()) > 2:
        log.warning(
            "trainer.precision: %s is slow on this CPU, where a matrix product takes %.0f times as "
            "long in bfloat16 as in float32; faster is --trainer.precision 32-true",
            precision,
            times,
        )


def bfloat16_slowdown() -> float:
    """How many times as long as in float32 a matrix product takes in bfloat16 on this CPU: about
    half with instructions for bfloat16, ten and more without."""
    matrices = (torch.ones(256, 256, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    times = [min(timeit.repeat(partial(torch.mm, x, x), number=1, repeat=3)) for x in matrices]
    return times[0] / times[1]


def describe_hardware() -> dict[str, Any]:
    """Processor, memory and GPUs, for the record of a run; sizes in GiB.

    A virtual machine's processor may have no name but its maker's: then its numbers tell, and
    ``instructions``, by which PyTorch picks its kernels. ``cores`` are those this process may use.
    """
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    information = Path("/proc/cpuinfo")
    text = information.read_text("utf-8", "replace") if information.exists() else ""
    named = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    numbers = dict(re.findall(r"^(?:cpu )?(family|model|stepping)\s*: (\d+)", text, re.MULTILINE))
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": named[1].strip() if named else platform.processor(),
        "cpu_model": ", ".join(f"{name} {number}" for name, number in numbers.items()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "cores_of_machine": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [{"name": g.name, "memory_gib": round(g.total_memory / 2**30, 1)} for g in gpus],
    }


def loss_scaler(trainer: Trainer) -> Any:
    """That of mixed fp16; None in other precisions."""
    return getattr(trainer.precision_plugin, "scaler", None)


def is_first_process() -> bool:
    """Whether this process writes files and messages; known before a trainer exists."""
    return getattr(rank_zero_only, "rank", 0) == 0  # from the launcher's environment


# Of the kind that writes to what standard error is at that moment: notebooks and tests replace it.
_STANDARD_ERROR: logging.Handler = type(logging.lastResort)()  # type: ignore[misc]


def set_up_logging() -> None:
    """The suite's messages go to standard error, from the first process only; less chatter."""
    logger = logging.getLogger("qvbench")
    logger.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    logger.addHandler(_STANDARD_ERROR)  # one handler is added only once
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(lambda record: "Tip:" not in record.getMessage())
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, with a newer torch
    # Batches come from memory-mapped arrays: workers would only cost their start.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def keep_freed_memory() -> bool:
    """Tell glibc not to give memory back while the process runs; whether it could.

    A step on a CPU takes the same large buffers thousands of times: page faults would cost a third
    of the throughput of training, a twentieth of that of translation.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mmap_max, trim_threshold = -4, -1
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))


def cache_few_kernels() -> None:
    """Let oneDNN keep 64 compiled kernels instead of 1,024; before the first product.

    Every shape of a batch has kernels of its own: the full cache grew a small model's process to
    8 GB and saved nothing measurable.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
