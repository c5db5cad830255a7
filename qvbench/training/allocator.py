"""Memory on a CPU: glibc told to keep what it has, oneDNN not to keep everything.

By default it gives every large buffer back to the system when it is freed, and a training step on
a CPU frees and takes the same buffers thousands of times: page faults then cost a third of the
throughput.
"""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc not to give memory back while the process runs.

    Returns:
        whether the setting took; false where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def cache_few_kernels() -> None:
    """Let oneDNN keep 64 compiled kernels instead of 1,024.

    Batches come in many shapes, and every shape has kernels of its own, of up to several
    megabytes: the full cache grew a small model's process to 8 GB and saved nothing measurable.
    Works until the first product of the process; a value in the environment is respected.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
