"""glibc's allocator, told to keep what it has.

By default it gives every large buffer back to the system when it is freed, and a training step on
a CPU frees and takes the same buffers thousands of times: page faults then cost a third of the
throughput.
"""

from __future__ import annotations

import ctypes
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
