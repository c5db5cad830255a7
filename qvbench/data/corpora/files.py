"""Line-aligned files: read with errors named by file and line, checksummed, fetched, verified."""

from __future__ import annotations

import gzip
import hashlib
import http
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from qvbench.data.cache import cache_root, expanded, locked, track
from qvbench.errors import DISK_FULL, UserError
from qvbench.runs.folder import write_text

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30.0  # without a byte, before a connection counts as cut
_ATTEMPTS = 3  # that bring less than a chunk, before we give up
_PAUSE_SECONDS = 2.0  # before the second attempt; doubled before every later one
# Timestamps are as coarse as a second on some file systems: what was written just now may be
# written again within the same one.
_SETTLED_SECONDS = 2.0


class NotFetchedError(UserError):
    """The text has never been here, and nothing is published that names it."""


class DamagedError(UserError):
    """A gzip file is cut off, or holds what was not written."""


@contextmanager
def _opened(path: Path, decompress: bool = True) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed if its name ends in ``.gz`` or ``.tgz``."""
    opener = gzip.open if decompress and path.suffix in (".gz", ".tgz") else open
    try:
        with opener(path, "rb") as file:
            yield cast(BinaryIO, file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path in the corpus settings") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        what = "damaged or cut off gzip file; fetch or write it again"
        raise DamagedError(f"{path}: {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_lines(path: Path, allow_empty: bool = False) -> Iterator[str]:
    """The lines of a UTF-8 file, without line ends or space around them.

    Only a newline ends a line: text may hold U+2028 and its like. Lines may be empty in crawled
    text alone.

    Raises:
        UserError: the file is missing or damaged, a line is not UTF-8 or empty where none may be.
    """
    with _opened(path) as file:
        for number, raw in enumerate(file, start=1):
            line = _decoded(raw, path, number).strip()
            if not line and not allow_empty:
                raise UserError(
                    f"{path}:{number}: empty line; remove this line from both files of the pair"
                )
            yield line


def read_text(path: Path) -> str:
    """The whole text of a UTF-8 file as it stands, line ends included.

    Raises:
        UserError: the file is missing or damaged, or not UTF-8.
    """
    with _opened(path) as file:
        return _decoded(file.read(), path, 1)


def _decoded(raw: bytes, path: Path, line: int) -> str:
    """The text of UTF-8 bytes that begin on this line of a file, without a byte order mark."""
    try:
        text = raw.decode("utf-8")
        return text.removeprefix("\ufeff") if line == 1 else text
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise UserError(
            f"{path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x}, {column} in its line); "
            "convert the file, for example with iconv -t utf-8, or leave it out"
        ) from None


def read_pairs(source: Path, target: Path, allow_empty: bool = False) -> Iterator[tuple[str, str]]:
    """The pairs of two line-aligned files.

    Raises:
        UserError: as :func:`read_lines`; where there are no lines; and where one file ends before
            the other, with the number of lines of both.
    """
    one = None
    for one, other in zip_longest(read_lines(source, allow_empty), read_lines(target, allow_empty)):
        if one is None or other is None:
            lines = [sum(1 for _ in read_lines(path, True)) for path in (source, target)]
            raise UserError(
                f"{source} has {lines[0]:,} lines but {target} has {lines[1]:,}; line n of one "
                "must translate line n of the other"
            )
        yield one, other
    if one is None:
        raise UserError(f"{source}: has no lines, nor has {target}; give files with text")


def file_sha256(path: Path, decompress: bool = False) -> str:
    """SHA-256 of a file, remembered in the cache, so that opening a run reads no gigabytes.

    It is remembered by size, times and inode. Those change with every write, also of equal
    length; the change time (``ctime``) cannot be set back. ``decompress`` takes that of the text in
    a gzipped file, since compressors differ.

    Raises:
        UserError: the file is missing, damaged, or cannot be read.
    """
    with _opened(path, decompress) as file:
        found = path.stat()
        state = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        key = hashlib.sha256(os.fsencode(f"{path.absolute()} {decompress} {state}")).hexdigest()
        memory = cache_root() / "checksums" / key[:32]
        with suppress(OSError, ValueError):
            if len(remembered := memory.read_text(encoding="ascii")) == len(key):
                return remembered
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if time.time() - max(found.st_mtime, found.st_ctime) > _SETTLED_SECONDS:
        with suppress(OSError):  # a cache that cannot be written costs time alone
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text(memory, digest.hexdigest())
    return digest.hexdigest()


def fetch(url: str, path: Path, sha256: str | None = None) -> None:
    """Make sure that ``path`` holds the file at ``url``, fetched by one process at a time.

    What has arrived is kept beside it as ``part-…``, and a later call resumes there. The SHA-256 is
    that of the (decompressed) text, if one is published.

    Raises:
        UserError: it cannot be fetched or stored, or is not what was published or recorded.
    """
    once([path], lambda: _download(url, path), f"fetching {url}")
    verify(path, url, sha256)


def once(files: Sequence[Path], write: Callable[[], None], what: str) -> None:
    """Let ``write``, which does ``what``, write files that are not all there, in one process at a
    time: data modules with caches of their own share the downloads."""

    def all_there() -> bool:
        return all(file.is_file() for file in files)

    if not all_there():
        with locked(files[0].with_name(f".{files[0].name}.lock"), what):
            if not all_there():
                write()


def verify(path: Path, source: str, sha256: str | None = None) -> None:
    """Compare the text of a download with what was published, or with what first arrived.

    Where no checksum is published, that of the first arrival is recorded in ``NAME.json``, once the
    file was read to its end, since gzip tells damage on the way. A file that differs is removed.

    Raises:
        UserError: it differs, or cannot be read and stays.
    """
    expected = sha256 or (recorded_sha256(path) if _record_file(path).exists() else None)
    try:
        found = file_sha256(path, decompress=True)
    except DamagedError:
        found = "unreadable"
    if expected is None and found != "unreadable":
        record = json.dumps({"url": source, "text_sha256": found}, indent=1)
        write_text(_record_file(path), record + "\n")
    elif found != expected:
        path.unlink()
        raise UserError(
            f"{path}: was not what {source} published or first sent (SHA-256 of its text "
            f"{found[:12]}, should be {str(expected)[:12]}) and is removed; run the same command "
            "to fetch it anew, or point root: at a folder with local copies"
        )


def recorded_sha256(path: Path) -> str:
    """SHA-256 of the decompressed text of a download, which need not be on the disk any more.

    Raises:
        NotFetchedError: it never arrived.
        UserError: the record is damaged.
    """
    file = _record_file(path)
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["text_sha256"])
    except FileNotFoundError:
        raise NotFetchedError(
            f"{path}: has not been fetched; run `qvbench prepare` with this config"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: the record of a download cannot be read ({error}); remove it and {path.name}"
        ) from None


def _record_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _download(url: str, path: Path) -> None:
    """Fetch what is missing of the part, resuming after cut connections; then give it its name."""
    # The suffix stays last, for it says whether the text is compressed.
    part = path.with_name(f"part-{path.name}")
    logger.info("fetching %s", url)
    failures = 0
    while True:
        before = _size(part)
        try:
            if _receive(url, part):
                break
            error: Exception = ConnectionError("the connection was cut before the end")
        except (OSError, http.client.HTTPException) as raised:
            if getattr(raised, "errno", None) in DISK_FULL:
                raise
            error = raised
        failures = 0 if _size(part) - before >= _CHUNK else failures + 1
        refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
        if refused or failures >= _ATTEMPTS:
            raise UserError(
                f"{url}: could not be fetched ({error}); check the network and run the same "
                "command to resume, or point root: at a folder with local copies"
            )
        logger.info("%s: %s; trying again", url, error)
        time.sleep(_PAUSE_SECONDS * 2 ** max(failures - 1, 0))
    part.replace(path)


def _receive(url: str, part: Path) -> bool:
    """One request, from the end of ``part`` on. Returns whether the file is complete."""
    have = _size(part)
    headers = {"User-Agent": "qvbench", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is left to send, or the file has become shorter than the part.
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True
        part.unlink()
        return False
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        have = 0  # the server sends all of it, whatever was asked
    length = int(response.headers.get("Content-Length") or 0)
    with response, part.open("ab" if have else "wb") as file:
        chunks = iter(lambda: response.read(_CHUNK), b"")
        file.writelines(track(chunks, part.name, length / _CHUNK or None))
    return _size(part) >= have + length


def local_copy(root: str, *names: str) -> Path:
    """The first of some names that is a file in the user's folder.

    Raises:
        UserError: none is.
    """
    folder = expanded(root)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder / names[0]}: no such file, nor {', '.join(names[1:])}; copy it there, or leave "
        "root out to download it"
    )


def check_published(path: Path, sha256: str, remedy: str) -> None:
    """UserError, which ends with what to do, unless a local copy's text is the published one."""
    if (found := file_sha256(path, decompress=True)) != sha256:
        raise UserError(
            f"{path}: is not the published file (SHA-256 of its text is {found[:12]}…, should be "
            f"{sha256[:12]}…); {remedy}"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
