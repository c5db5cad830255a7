"""One process at a time: locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qvbench.data.cache import make_folder, write_fault

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, waiting while another process (or thread) holds it.

    The file goes when the lock does. A file system without locks is taken as it is: everything
    that is written under a lock takes its name by an atomic rename, so that two writers cost
    time there, not correctness.

    Args:
        path: of the lock file; its folder is made.
        what: is being done, for the log of a process that waits.

    Raises:
        UserError: the folder cannot be written.
    """
    make_folder(path.parent)
    descriptor = _acquire(path, what)
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for this file finds that it is no longer the
        # one of this name, and takes the new one.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, what: str) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as fault:
            raise write_fault(path, fault) from None
        _wait_for(descriptor, what)
        if _is_named(descriptor, path):
            return descriptor
        os.close(descriptor)


def _wait_for(descriptor: int, what: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("another process is %s: waiting for it", what)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        logger.warning("no locks on this file system: not waiting for others that are %s", what)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that ``path`` names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
