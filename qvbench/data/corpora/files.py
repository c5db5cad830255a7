"""Reading line-aligned files, plain or gzipped, with errors named by file and line; checksums.

Checksums are remembered in the cache with size, times and inode of the file, so that opening a run
does not read gigabytes. Those change with every write, also of equal length; the change time
(``ctime``) cannot be set back.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from qvbench.data.cache import cache_root, write_text
from qvbench.errors import UserError

_CHUNK = 1 << 20
_ZIPPED = (".gz", ".tgz")
# Timestamps are as coarse as a second on some file systems: what was written just now may be
# written again within the same one.
_SETTLED_SECONDS = 2.0


@contextmanager
def _opened(path: Path, decompress: bool = True) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed if its name ends in ``.gz`` or ``.tgz``."""
    opener = gzip.open if decompress and path.suffix in _ZIPPED else open
    try:
        with opener(path, "rb") as file:
            yield cast(BinaryIO, file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"{path}: damaged or cut off gzip file; fetch or write it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_lines(path: Path, allow_empty: bool = False) -> Iterator[str]:
    """The lines of a UTF-8 file, without line ends or space around them.

    Only a newline ends a line: text may hold U+2028 and its like.

    Args:
        path: of the file.
        allow_empty: whether lines may be empty.

    Raises:
        UserError: the file is missing or damaged, a line is not UTF-8 or empty where none may be.
    """
    with _opened(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                byte = raw[error.start]
                raise UserError(
                    f"{path}:{number}: not UTF-8 (byte 0x{byte:02x}, {error.start + 1} in its "
                    "line); convert the file, for example with iconv -t utf-8"
                ) from None
            if not line and not allow_empty:
                raise UserError(
                    f"{path}:{number}: empty line; remove this line from both files of the pair"
                )
            yield line


def read_pairs(source: Path, target: Path, allow_empty: bool = False) -> Iterator[tuple[str, str]]:
    """The pairs of two line-aligned files.

    Args:
        source: file of the source lines.
        target: file of the target lines.
        allow_empty: whether lines may be empty, as in crawled text of which nobody has read every
            line: whoever stores such a pair drops and counts it.

    Raises:
        UserError: as :func:`read_lines`; and where one file ends before the other, with the
            number of lines of both.
    """
    for one, other in zip_longest(read_lines(source, allow_empty), read_lines(target, allow_empty)):
        if one is None or other is None:
            raise UserError(
                f"{source} has {count_lines(source):,} lines but {target} has "
                f"{count_lines(target):,}; line n of one must translate line n of the other"
            )
        yield one, other


def count_lines(path: Path) -> int:
    """Number of lines, a last one without a newline included."""
    with _opened(path) as file:
        return sum(1 for _ in file)


def file_sha256(path: Path, decompress: bool = False) -> str:
    """SHA-256 of a file, remembered while the file does not change.

    Args:
        path: of the file.
        decompress: of the text in a gzipped file, since compressors differ; else of the bytes on
            the disk.

    Raises:
        UserError: the file is missing, damaged, or cannot be read.
    """
    try:
        state = _state(path)
    except OSError:
        return _sha256(path, decompress)  # which says in one line what is wrong
    kind = "text" if decompress else "file"
    name = hashlib.sha256(f"{kind} {path.absolute()}".encode()).hexdigest()[:32]
    memory = cache_root() / "checksums" / f"{name}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # nothing readable is remembered
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["state"] == state:
            return str(content["sha256"])
    sha256 = _sha256(path, decompress)
    if time.time() - max(state[1], state[2]) / 1e9 > _SETTLED_SECONDS and state == _state(path):
        with suppress(OSError, UserError):  # a cache that cannot be written costs time alone
            memory.parent.mkdir(parents=True, exist_ok=True)
            content = {"path": str(path.absolute()), "state": state, "sha256": sha256}
            write_text(memory, json.dumps(content))
    return sha256


def _state(path: Path) -> list[int]:
    """What changes whenever a file does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _sha256(path: Path, decompress: bool) -> str:
    digest = hashlib.sha256()
    with _opened(path, decompress) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
