"""Fetching a published file: resumable, verified, never half there."""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
from pathlib import Path

from qvbench.data.cache import make_folder
from qvbench.data.corpora.lines import text_sha256
from qvbench.data.progress import progress_bar
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30
_ATTEMPTS = 3


def fetch(url: str, path: Path, sha256: str) -> None:
    """Make sure that ``path`` holds the file at ``url``.

    What has arrived is kept beside it as ``….part``, and a later call goes on from there; the
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
    make_folder(path.parent)
    # The suffix stays last, for it says whether the text is compressed.
    part = path.with_name(f"part-{path.name}")
    logger.info("fetching %s", url)
    _download(url, part)
    _verify(url, part, sha256)
    part.replace(path)


def _verify(url: str, part: Path, sha256: str) -> None:
    try:
        found = text_sha256(part)
    except UserError:
        found = "unreadable"
    if found != sha256:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{url}: what arrived is not the published file (SHA-256 of its text {found[:12]}…, "
            f"should be {sha256[:12]}…); try again, or point root: at a folder with local copies"
        )


def _download(url: str, part: Path) -> None:
    """Append what is missing to ``part``, going on after a cut connection."""
    fault: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            if _receive(url, part):
                return
            fault = ConnectionError("the connection was cut before the end")
        except (OSError, http.client.HTTPException) as error:
            fault = error
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                break  # asking again for what the server refuses is of no use
    raise UserError(
        f"{url}: could not be fetched ({fault}); check the network and run the same command "
        "again, it goes on where it stopped, or point root: at a folder with local copies"
    )


def _receive(url: str, part: Path) -> bool:
    """One request, from the end of ``part`` on. Returns whether the file is complete."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "qvbench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is left to send: the checksum decides
        raise
    with response, progress_bar(transfer=True) as bar:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends all of it, whatever was asked
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        task = bar.add_task(part.name.removeprefix("part-"), total=total, completed=have)
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(task, advance=len(chunk))
        return total is None or part.stat().st_size >= total
