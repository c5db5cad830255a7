"""Reading line-aligned files, plain or gzipped, with faults named by file and line."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from qvbench.errors import UserError

_CHUNK = 1 << 20
_ZIPPED = (".gz", ".tgz")


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressing it if its name ends in ``.gz`` or ``.tgz``."""
    opener = gzip.open if path.suffix in _ZIPPED else open
    try:
        return cast(BinaryIO, opener(path, "rb"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None


def _damage(path: Path, fault: Exception) -> UserError:
    """What to say of a file that opens and cannot be read to its end."""
    if isinstance(fault, (EOFError, zlib.error, gzip.BadGzipFile)):
        return UserError(f"{path}: damaged or cut off gzip file; fetch or write it again")
    return UserError(f"{path}: cannot be read ({getattr(fault, 'strerror', None) or fault})")


def _raw_lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes. Only a newline ends a line: text may hold U+2028 and its like."""
    with open_bytes(path) as file:
        try:
            yield from file
        except (EOFError, zlib.error, OSError) as fault:
            raise _damage(path, fault) from None


def read_any_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without line ends or space around them; some may be empty.

    Raises:
        UserError: the file is missing or damaged, or a line is not UTF-8.
    """
    for number, raw in enumerate(_raw_lines(path), start=1):
        try:
            yield raw.decode("utf-8").strip()
        except UnicodeDecodeError as fault:
            byte = raw[fault.start]
            raise UserError(
                f"{path}:{number}: not UTF-8 (byte 0x{byte:02x}, {fault.start + 1} in its line); "
                "convert the file, for example with iconv -t utf-8"
            ) from None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file in which no line may be empty.

    Raises:
        UserError: the file is missing or damaged, a line is empty or not UTF-8.
    """
    for number, line in enumerate(read_any_lines(path), start=1):
        if not line:
            raise UserError(
                f"{path}:{number}: empty line; remove this line from both files of the pair"
            )
        yield line


def read_pairs(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """The pairs of two line-aligned files.

    Raises:
        UserError: as :func:`read_lines`; and where one file ends before the other, with the
            number of lines of both.
    """
    return _aligned(source, target, read_lines)


def read_crawled_pairs(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """The pairs of two line-aligned files of which nobody has read every line.

    Where a side is empty the pair comes as it is: whoever stores it drops and counts it.

    Raises:
        UserError: as :func:`read_any_lines`; and where one file ends before the other.
    """
    return _aligned(source, target, read_any_lines)


def _aligned(
    source: Path, target: Path, read: Callable[[Path], Iterator[str]]
) -> Iterator[tuple[str, str]]:
    for one, other in zip_longest(read(source), read(target)):
        if one is None or other is None:
            raise UserError(
                f"{source} has {count_lines(source):,} lines but {target} has "
                f"{count_lines(target):,}; line n of one must translate line n of the other"
            )
        yield one, other


def count_lines(path: Path) -> int:
    """Number of lines, a last one without a newline included."""
    return sum(1 for _ in _raw_lines(path))


def text_sha256(path: Path) -> str:
    """SHA-256 of a file's text: of the decompressed bytes, since compressors differ."""
    with open_bytes(path) as file:
        return _sha256(path, file)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as they lie on the disk.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _sha256(path, file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None


def _sha256(path: Path, file: BinaryIO) -> str:
    digest = hashlib.sha256()
    try:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    except (EOFError, zlib.error, OSError) as fault:
        raise _damage(path, fault) from None
    return digest.hexdigest()
