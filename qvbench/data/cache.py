"""Where downloads and stored token ids live."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from qvbench.errors import UserError

_REMEDY = "set cache_dir or the environment variable QVBENCH_CACHE to a folder that can"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def cache_root(cache_dir: str | None = None) -> Path:
    """The cache folder: the one given, else ``$QVBENCH_CACHE``, else ``~/.cache/qvbench``."""
    return Path(cache_dir or os.environ.get("QVBENCH_CACHE") or "~/.cache/qvbench").expanduser()


def make_folder(path: Path) -> Path:
    """Create a folder of the cache with its parents, and make sure that it can be written.

    Raises:
        UserError: it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        fault = "" if os.access(path, os.W_OK | os.X_OK) else "permission denied"
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        raise UserError(f"{path}: the cache cannot be written ({fault}); {_REMEDY}")
    return path


def write_fault(path: Path, fault: OSError) -> UserError:
    """What to tell a user whose disk would not take a file of the cache.

    Args:
        path: of the file or folder that was being written.
        fault: what the operating system said.
    """
    if fault.errno in _FULL:
        return UserError(
            f"{path}: the disk is full; free some space and run the same command again, or set "
            "cache_dir or the environment variable QVBENCH_CACHE to a folder on another disk"
        )
    return UserError(f"{path}: the cache cannot be written ({fault.strerror or fault}); {_REMEDY}")


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file whole: under another name first, then renamed.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise write_fault(path, fault) from None
