"""The cache folder: where downloads and stored token ids live, and how processes share it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qvbench.errors import UserError
from qvbench.runs.folder import replacing

logger = logging.getLogger(__name__)

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
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "permission denied")
    except OSError as error:
        raise write_error(path, error) from None
    return path


def write_error(path: Path, error: OSError) -> UserError:
    """The error to raise for a file or folder of the cache that could not be written."""
    if error.errno in _FULL:
        return UserError(
            f"{path}: the disk is full; free some space and run the same command again, or set "
            "cache_dir or the environment variable QVBENCH_CACHE to a folder on another disk"
        )
    return UserError(f"{path}: the cache cannot be written ({error.strerror or error}); {_REMEDY}")


def write_text(path: Path, text: str) -> None:
    """Replace a small text file atomically.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise write_error(path, error) from None


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, waiting while another process or thread holds it.

    The system releases the lock when its process ends, however it ends.

    Args:
        path: of the lock file; its folder is created.
        what: is being done, for the log of a process that waits.

    Raises:
        UserError: the folder cannot be written.
    """
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logger.info("another process is %s: waiting for it", what)
            lock.acquire()
    except OSError as error:
        raise write_error(path, error) from None
    try:
        yield
    finally:
        lock.release()
