"""The exception for what the user can fix."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the system's errors: no space left, and a quota used up."""

_NO_MEMORY = re.compile(r"out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory")


class UserError(Exception):
    """Something wrong in what the user gave: command line, config, file or network.

    The message names the place, what is wrong and what is allowed. The command line prints it in
    one line without a traceback, and exits with status 2; any other exception is a bug.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch found too little memory, on a GPU or on a CPU, by the words it uses."""
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, for the end of a message; empty if none is near."""
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.7)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
