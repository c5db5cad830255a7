"""The cache folder: where downloads and stored token ids lie, and how processes share it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from qvbench.errors import DISK_FULL, UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def cache_root(cache_dir: str | None = None) -> Path:
    """The cache folder: the one given, else ``$QVBENCH_CACHE``, else ``~/.cache/qvbench``."""
    return expanded(cache_dir or os.environ.get("QVBENCH_CACHE") or "~/.cache/qvbench")


def expanded(path: str) -> Path:
    """A path whose ``~`` or ``~name`` is a user's home; UserError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = path.partition("/")[0]
        raise UserError(f"{path}: {home} is no user's home here; give the whole path") from None


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, waiting while another process or thread is doing ``what``.

    The system releases the lock when its process ends, however it ends.

    Raises:
        UserError: for any :class:`OSError` while it is held: the cache cannot be written.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            logger.info("another process is %s: waiting for it", what)
            held = lock.acquire()
        with held:
            yield
    except OSError as error:
        reason = f"the cache cannot be written ({error.strerror or error}); "
        if error.errno in DISK_FULL:
            reason = "the disk is full; free some space and run the same command again, or "
        raise UserError(
            f"{error.filename or path.parent}: {reason}set cache_dir or the environment variable "
            "QVBENCH_CACHE to a folder elsewhere"
        ) from None


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterable[T]:
    """The items, counted by a bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as shown

    return shown(items, description, total, console=Console(stderr=True), transient=True)
