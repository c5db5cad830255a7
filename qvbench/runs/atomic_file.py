"""Files that take the place of others when they are complete, and not before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Open a file whose content replaces another's at the end, whole and on the disk.

    It is written under another name beside it. Whatever goes wrong, the old file stays as it was
    and nothing is left beside it; after a crash, or with the power gone, the name stands for the
    old content or the new. A process killed on the way leaves the unfinished file, which the next
    writer overwrites.

    Args:
        file: to replace.

    Raises:
        OSError: it cannot be written.
    """
    partial = file.with_name(file.name + PARTIAL)
    try:
        with partial.open("wb") as opened:
            yield opened
            sync(opened)
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    sync_folder(file.parent)


def write_text(file: Path, text: str) -> None:
    """Replace a text file; one writer at a time.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(file) as opened:
        opened.write(text.encode())


def sync(opened: BinaryIO) -> None:
    """Have all that was written to an open file on the disk."""
    opened.flush()
    os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
