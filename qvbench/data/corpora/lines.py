"""Reading line-aligned files, plain or gzipped, with faults named by file and line."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from qvbench.errors import UserError

_CHUNK = 1 << 20


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressing it if its name ends in ``.gz``."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        return cast(BinaryIO, opener(path, "rb"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None


def _raw_lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes. Only a newline ends a line: text may hold U+2028 and its like."""
    with open_bytes(path) as file:
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise UserError(
                f"{path}: damaged or cut off gzip file; fetch or write it again"
            ) from None
        except OSError as fault:
            raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without line ends or space around them.

    Raises:
        UserError: the file is missing or damaged, a line is empty or not UTF-8.
    """
    for number, raw in enumerate(_raw_lines(path), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as fault:
            byte = raw[fault.start]
            raise UserError(
                f"{path}:{number}: not UTF-8 (byte 0x{byte:02x}, {fault.start + 1} in its line); "
                "convert the file, for example with iconv -t utf-8"
            ) from None
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
    left, right = read_lines(source), read_lines(target)
    for one, other in zip_longest(left, right):
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
    digest = hashlib.sha256()
    for line in _raw_lines(path):
        digest.update(line)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as they lie on the disk.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None
    return digest.hexdigest()
