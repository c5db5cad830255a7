"""Fetching a published file: resumable, verified, never half there."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.data.cache import make_folder, write_atomically, write_fault
from qvbench.data.corpora.checksums import Record, check_record, read_record, write_record
from qvbench.data.corpora.lines import text_sha256
from qvbench.data.locks import locked
from qvbench.data.progress import transfer_progress
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30.0  # without a byte, before a connection counts as cut
_ATTEMPTS = 3  # that bring less than a chunk, before we give up
_PAUSE_SECONDS = 2.0  # before the second attempt; doubled before every later one

_LOCAL = "or point root: at a folder with local copies"


def fetch(url: str, path: Path, sha256: str) -> None:
    """Make sure that ``path`` holds the file at ``url``, whose checksum is published.

    What has arrived is kept beside it as ``part-…``, and a later call goes on from there; the
    file takes its name only when it is complete and verified.

    Args:
        url: address of the file.
        path: where it shall lie; a ``.gz`` at its end means that it is compressed.
        sha256: of the file's (decompressed) text.

    Raises:
        UserError: it cannot be fetched, or what arrives is not what was published.
    """
    if path.is_file():
        return
    with locked(_lock(path), f"fetching {path.name}"):
        if not path.is_file():
            part = _download(url, path)
            _compare(url, part, sha256, "the published file")
            _rename(part, path)


def fetch_recorded(url: str, path: Path) -> Record:
    """Make sure that ``path`` holds the file at ``url``, for which no checksum is published.

    Size and checksum are recorded when it first arrives; ever after, what lies on the disk and
    what is fetched again must agree with the record.

    Args:
        url: address of the file.
        path: where it shall lie; a ``.gz`` or ``.tgz`` is read to its end before it is taken,
            since its own checksum tells damage on the way.

    Raises:
        UserError: it cannot be fetched, is damaged, or is not what was recorded.
    """
    with locked(_lock(path), f"fetching {path.name}"):
        record = read_record(path)
        if record is not None and path.is_file():
            check_record(path, record)
            return record
        # A file without a record is complete: a process was killed between two renames.
        arrived = path if path.is_file() else _download(url, path)
        if record is not None:
            _compare(url, arrived, record.text_sha256, "what it was at the first download")
        else:
            record = _first_record(url, arrived)
            write_record(path, record)
        if arrived != path:
            _rename(arrived, path)
            if record.sha256 != (now := Record.of(url, path)).sha256:
                record = now  # the same text, compressed anew
                write_record(path, record)
        return record


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _compare(url: str, part: Path, sha256: str, expected: str) -> None:
    try:
        found = text_sha256(part)
    except UserError:
        found = "unreadable"
    if found != sha256:
        _forget(part)
        raise UserError(
            f"{url}: what arrived is not {expected} (SHA-256 of its text {found[:12]}…, "
            f"should be {sha256[:12]}…); try again, {_LOCAL}"
        )


def _first_record(url: str, part: Path) -> Record:
    try:
        return Record.of(url, part)
    except UserError:
        _forget(part)
        raise UserError(f"{url}: what arrived is damaged; try again, {_LOCAL}") from None


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as fault:
        raise write_fault(path, fault) from None
    _state_file(part).unlink(missing_ok=True)


def _download(url: str, path: Path) -> Path:
    """Bring what is missing of the part, going on after cut connections; returns the part."""
    make_folder(path.parent)
    # The suffix stays last, for it says whether the text is compressed.
    part = path.with_name(f"part-{path.name}")
    logger.info("fetching %s", url)
    fault: Exception | None = None
    vain = 0
    while vain < _ATTEMPTS:
        before = _size(part)
        try:
            if _receive(url, part):
                return part
            fault = ConnectionError("the connection was cut before the end")
        except (OSError, http.client.HTTPException) as error:
            fault = error
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                break  # asking again for what the server refuses is of no use
        vain = 0 if _size(part) - before >= _CHUNK else vain + 1
        if vain < _ATTEMPTS:
            logger.info("%s: %s; trying again", url, fault)
            time.sleep(_PAUSE_SECONDS * 2 ** max(vain - 1, 0))
    raise UserError(
        f"{url}: could not be fetched ({fault}); check the network and run the same command "
        f"again, it goes on where it stopped, {_LOCAL}"
    )


class _Remote(NamedTuple):
    """What the server said of the file whose part lies here.

    Attributes:
        validator: its entity tag, else its date: a part of another version is of no use.
        total: its size in bytes.
    """

    validator: str | None = None
    total: int | None = None


def _receive(url: str, part: Path) -> bool:
    """One request, from the end of ``part`` on. Returns whether the file is complete."""
    have, known = _size(part), _read_state(part)
    try:
        response = _request(url, have, known)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is left to send, or the file has become shorter than the part.
        total = _total(error.headers) or known.total
        if total is not None and total != have:
            _forget(part)
            return False
        return True
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends all of it, whatever was asked
        elif not _continues(response.headers, have, known):
            _forget(part)
            return False
        now = _Remote(_validator(response.headers), _expected_total(response.headers, have))
        _check_space(part, have, now.total)
        _write_state(part, now)
        _append(response, part, have, now.total)
    return now.total is None or _size(part) >= now.total


def _request(url: str, have: int, known: _Remote) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "qvbench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if known.validator:
            request.add_header("If-Range", known.validator)
    return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)


def _append(response: Any, part: Path, have: int, total: int | None) -> None:
    """Write what the server sends; a fault of the disk is told apart from one of the network."""
    name = part.name.removeprefix("part-")
    try:
        file = part.open("ab" if have else "wb")
    except OSError as fault:
        raise write_fault(part, fault) from None
    with file, transfer_progress(name, have, total) as advance:
        while chunk := response.read1(_CHUNK):
            try:
                file.write(chunk)
                file.flush()
            except OSError as fault:
                raise write_fault(part, fault) from None
            advance(len(chunk))


def _continues(headers: Any, have: int, known: _Remote) -> bool:
    """Whether a partial answer begins where the part ends, in a file of the same size."""
    said = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    total = _total(headers)
    return (said is None or int(said[1]) == have) and (
        total is None or known.total is None or total == known.total
    )


def _total(headers: Any) -> int | None:
    said = re.search(r"/(\d+)\s*$", headers.get("Content-Range", "") if headers else "")
    return int(said[1]) if said else None


def _expected_total(headers: Any, have: int) -> int | None:
    length = headers.get("Content-Length")
    return have + int(length) if length else _total(headers)


def _validator(headers: Any) -> str | None:
    """A strong entity tag or the date of the file; a weak tag does not vouch for bytes."""
    tag: str | None = headers.get("ETag")
    date: str | None = headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else date


def _check_space(part: Path, have: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise UserError(
            f"{part.parent}: {total - have:,} bytes are to be fetched, {free:,} are free; free "
            "some space, or set the environment variable QVBENCH_CACHE to a folder elsewhere"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _state_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path) -> _Remote:
    try:
        return _Remote(**json.loads(_state_file(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _Remote()  # a part of unknown origin: its checksum decides


def _write_state(part: Path, remote: _Remote) -> None:
    write_atomically(_state_file(part), json.dumps(remote._asdict()))


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_file(part).unlink(missing_ok=True)
