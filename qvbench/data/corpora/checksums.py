"""Checksums: of files that are large, and of downloads whose source publishes none.

A file's checksum is remembered in the cache with size, times and inode of the file, so that
opening a run does not read gigabytes. Those change with every write, also of equal length; the
change time (``ctime``) cannot be set back.

A download without a published checksum leaves a record beside it, ``NAME.json``. It stays when
the download is removed: what arrives later, and what lies on the disk, must agree with it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from qvbench.data.cache import cache_root, write_atomically
from qvbench.data.corpora.lines import file_sha256, text_sha256
from qvbench.errors import UserError

# Timestamps are as coarse as a second on some file systems: what was written just now may be
# written again within the same one.
_SETTLED_SECONDS = 2.0


def known_file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered while the file does not change."""
    return _remembered(path, "file", file_sha256)


def known_text_sha256(path: Path) -> str:
    """SHA-256 of a file's decompressed bytes, remembered while the file does not change."""
    return _remembered(path, "text", text_sha256)


def _remembered(path: Path, kind: str, compute: Callable[[Path], str]) -> str:
    try:
        state = _state(path)
    except OSError:
        return compute(path)  # which says in one line what is wrong
    name = hashlib.sha256(f"{kind} {path.absolute()}".encode()).hexdigest()[:32]
    memory = cache_root() / "checksums" / f"{name}.json"
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["state"] == state:
            return str(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is remembered, or nothing that can be read
    sha256 = compute(path)
    if time.time() - max(state[1], state[2]) / 1e9 > _SETTLED_SECONDS and state == _state(path):
        _remember(memory, {"path": str(path.absolute()), "state": state, "sha256": sha256})
    return sha256


def _state(path: Path) -> list[int]:
    """What changes whenever a file does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _remember(memory: Path, content: dict[str, object]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(content))
    except (OSError, UserError):
        pass  # a cache that cannot be written costs time, nothing else


@dataclass(frozen=True)
class Record:
    """What a download was when it first arrived.

    Attributes:
        url: where it came from.
        bytes: its size.
        sha256: of the file as it lies on the disk.
        text_sha256: of its decompressed content.
    """

    url: str
    bytes: int
    sha256: str
    text_sha256: str

    @classmethod
    def of(cls, url: str, path: Path) -> Record:
        """The record of a file, which is read to its end: a damaged ``.gz`` is found here.

        Raises:
            UserError: the file cannot be read, or is damaged.
        """
        return cls(url, path.stat().st_size, file_sha256(path), text_sha256(path))


def record_file(path: Path) -> Path:
    """Where the record of ``path`` lies."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, record: Record) -> None:
    """Write the record of ``path``."""
    write_atomically(record_file(path), json.dumps(asdict(record), indent=1) + "\n")


def read_record(path: Path) -> Record | None:
    """The record of ``path``, or None where it never arrived.

    Raises:
        UserError: the record is damaged.
    """
    file = record_file(path)
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(
            f"{file}: the record of a download cannot be read ({fault}); remove it and "
            f"{path.name}, both will be fetched anew"
        ) from None


def check_record(path: Path, record: Record) -> None:
    """Make sure that a file on the disk is still what was recorded.

    Raises:
        UserError: it is not.
    """
    size = path.stat().st_size
    if size == record.bytes and known_file_sha256(path) == record.sha256:
        return
    raise UserError(
        f"{path}: is not the file that was downloaded ({size:,} bytes, recorded were "
        f"{record.bytes:,} with SHA-256 {record.sha256[:12]}…); remove it, it will be fetched anew"
    )
