"""Fetching a published file: resumed where it was cut, verified, never half there.

Hub clients resume too, but from their hub alone, and ``torch.hub.download_url_to_file`` starts
anew; WMT17's training text is two files of a gigabyte on a plain HTTP server.
"""

from __future__ import annotations

import http
import http.client
import json
import logging
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qvbench.data.cache import locked, make_folder, write_error, write_text
from qvbench.data.corpora.files import file_sha256
from qvbench.data.progress import track
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30.0  # without a byte, before a connection counts as cut
_ATTEMPTS = 3  # that bring less than a chunk, before we give up
_PAUSE_SECONDS = 2.0  # before the second attempt; doubled before every later one
_LOCAL = "or point root: at a folder with local copies"


def fetch(url: str, path: Path, sha256: str | None = None) -> None:
    """Make sure that ``path`` holds the file at ``url``.

    What has arrived is kept beside it as ``part-…``, and a later call goes on from there; the
    file takes its name only when it is complete and verified. Where no checksum is published, the
    one of the first arrival is recorded in ``NAME.json``; whatever arrives later must agree.

    Args:
        url: address of the file.
        path: where it shall lie; a ``.gz`` or ``.tgz`` is read to its end before it is taken,
            since its own checksum tells damage on the way.
        sha256: of the file's (decompressed) text, if it is published.

    Raises:
        UserError: it cannot be fetched, is damaged, or is not what was published or recorded.
    """
    with locked(path.with_name(f".{path.name}.lock"), f"fetching {path.name}"):
        expected = sha256 or recorded_sha256(path)
        if path.is_file():
            verify(path, expected)
            return
        part = _download(url, path)
        found = _verify_arrived(url, part, expected)
        if expected is None:
            record(path, url, found)
        try:
            part.replace(path)
        except OSError as error:
            raise write_error(path, error) from None


def record(path: Path, url: str, sha256: str) -> None:
    """Record what a download was when it first arrived: beside it, and kept when it is removed."""
    write_text(_record_file(path), json.dumps({"url": url, "text_sha256": sha256}, indent=1) + "\n")


def recorded_sha256(path: Path) -> str | None:
    """SHA-256 of the decompressed text of a download, or None if it never arrived.

    Raises:
        UserError: the record is damaged.
    """
    file = _record_file(path)
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["text_sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: the record of a download cannot be read ({error}); remove it and "
            f"{path.name}, both will be fetched anew"
        ) from None


def _record_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def verify(path: Path, expected: str | None) -> None:
    """Make sure that a file on the disk is still the one that was downloaded.

    Raises:
        UserError: it is not.
    """
    try:
        found = file_sha256(path, decompress=True)
    except UserError:
        found = "unreadable"
    if found != expected:
        raise UserError(
            f"{path}: is not the file that was downloaded (SHA-256 of its text {found[:12]}…, "
            f"should be {str(expected)[:12]}…); remove it, it will be fetched anew"
        )


def _verify_arrived(url: str, part: Path, expected: str | None) -> str:
    """SHA-256 of what arrived, which is removed if it is damaged or not what it should be."""
    try:
        found = file_sha256(part, decompress=True)
    except UserError:
        part.unlink()
        raise UserError(f"{url}: what arrived is damaged; try again, {_LOCAL}") from None
    if expected not in (None, found):
        part.unlink()
        raise UserError(
            f"{url}: what arrived is not the file that was published or first downloaded (SHA-256 "
            f"of its text {found[:12]}…, should be {str(expected)[:12]}…); try again, {_LOCAL}"
        )
    return found


def _download(url: str, path: Path) -> Path:
    """Fetch what is missing of the part, resuming after cut connections; returns the part."""
    make_folder(path.parent)
    # The suffix stays last, for it says whether the text is compressed.
    part = path.with_name(f"part-{path.name}")
    logger.info("fetching %s", url)
    failures = 0
    while True:
        before = _size(part)
        try:
            if _receive(url, part):
                return part
            error: Exception = ConnectionError("the connection was cut before the end")
        except (OSError, http.client.HTTPException) as raised:
            error = raised
        failures = 0 if _size(part) - before >= _CHUNK else failures + 1
        refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
        if refused or failures >= _ATTEMPTS:
            raise UserError(
                f"{url}: could not be fetched ({error}); check the network and run the same "
                f"command again, it goes on where it stopped, {_LOCAL}"
            )
        logger.info("%s: %s; trying again", url, error)
        time.sleep(_PAUSE_SECONDS * 2 ** max(failures - 1, 0))


def _receive(url: str, part: Path) -> bool:
    """One request, from the end of ``part`` on. Returns whether the file is complete."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "qvbench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is left to send, or the file has become shorter than the part.
        whole = re.search(r"/(\d+)", error.headers.get("Content-Range", ""))
        if whole is not None and int(whole[1]) != have:
            part.unlink()
            return False
        return True
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends all of it, whatever was asked
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _append(response, part, have, total)
    return total is None or _size(part) >= total


def _append(response: Any, part: Path, have: int, total: int | None) -> None:
    """Write what the server sends; errors of the disk are not those of the network."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise UserError(
            f"{part.parent}: {total - have:,} bytes are to be fetched, {free:,} are free; free "
            "some space, or set the environment variable QVBENCH_CACHE to a folder elsewhere"
        )
    chunks = track(_chunks(response), part.name.removeprefix("part-"), total, have)
    try:
        with part.open("ab" if have else "wb") as file:
            file.writelines(chunks)
    except OSError as error:
        raise write_error(part, error) from None


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except OSError as error:  # of the network: not to be taken for one of the disk
        raise http.client.HTTPException(str(error)) from None


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
