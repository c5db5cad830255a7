"""The process of a run: which of several it is, what it says, and how it uses memory."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
import warnings

from lightning.pytorch.utilities.rank_zero import rank_zero_only

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def is_first_process() -> bool:
    """Whether this process writes files and messages; known before a trainer exists.

    Lightning reads it from the launcher's environment (torchrun, SLURM, its own subprocesses).
    """
    return getattr(rank_zero_only, "rank", 0) == 0


class _StandardError(logging.Handler):
    """Writes to what standard error is at that moment: notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # a message that cannot be shown ends no run
            self.handleError(record)


_STANDARD_ERROR = _StandardError()


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
    """Tell glibc not to give memory back while the process runs.

    By default it gives every large buffer back to the system when it is freed. A training step on a
    CPU frees and takes the same buffers thousands of times: page faults cost a third of the
    throughput.

    Returns:
        whether the setting took; false where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def cache_few_kernels() -> None:
    """Let oneDNN keep 64 compiled kernels instead of 1,024; before the first product.

    Batches come in many shapes, and every shape has kernels of its own, of up to several megabytes:
    the full cache grew a small model's process to 8 GB and saved nothing measurable. A value in the
    environment is respected.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
