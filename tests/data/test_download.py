"""Downloads: verified, resumed, never half there. Against a small server of our own."""

from __future__ import annotations

import copy
import errno
import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qvbench.data.cache import locked
from qvbench.data.corpora import Multi30k, files, multi30k
from qvbench.data.corpora.files import fetch, file_sha256, recorded_sha256
from qvbench.errors import UserError
from tests.data.http_server import Server, serving

TEXT = "".join(f"line {number}: {number * number}\n" for number in range(9000)).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(files, "_CHUNK", 1 << 12)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(TEXT) as server:
        yield server


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix != ".lock")


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    """Catches downloading anew at every start, and leftovers beside the file."""
    path = tmp_path / "folder" / "text"
    fetch(f"{server.url}/text", path, SHA256)
    fetch(f"{server.url}/text", path, SHA256)
    assert path.read_bytes() == TEXT
    assert server.ranges == [None]
    assert names(path.parent) == ["text"]


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    """Catches starting over, and a gap or an overlap at the seam."""
    server.cuts = [50_000, 10_000]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    assert server.ranges == [None, "bytes=50000-", "bytes=60000-"]


def test_a_killed_download_is_resumed_by_the_next_run(server: Server, tmp_path: Path) -> None:
    """Catches a part that is thrown away, or taken for the whole."""
    server.cuts = [40_000, 1000, 1000, 1000]
    with pytest.raises(UserError, match=r"could not be fetched .*cut.* root:"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert names(tmp_path) == ["part-text"]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    assert server.ranges[-1] == "bytes=43000-"


TROUBLES: dict[str, tuple[dict[str, object], bytes | None]] = {
    "no ranges": ({"resumes": False, "cuts": [40_000]}, None),
    "many cuts": ({"cuts": [5_000] * 10}, None),
    "failures": ({"statuses": [500, 503]}, None),
    "a complete part": ({}, TEXT),
    "a longer part": ({}, TEXT + b"from another time"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_on_the_way_changes_nothing(server: Server, tmp_path: Path, trouble: str) -> None:
    """Catches the whole file appended to its first half, a run killed before the renaming that can
    never go on, a part of another version, and a third cut that ends a download of hours."""
    behavior, part = TROUBLES[trouble]
    vars(server).update(copy.deepcopy(behavior))
    if part:
        (tmp_path / "part-text").write_bytes(part)
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    assert names(tmp_path) == ["text"]


def test_a_silent_connection_is_given_up_and_resumed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a download that hangs for ever."""
    monkeypatch.setattr(files, "_TIMEOUT_SECONDS", 1.0)
    server.stalls = [3.0]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    (resumed_at,) = (int(asked.removeprefix("bytes=")[:-1]) for asked in server.ranges[1:] if asked)
    assert len(TEXT) // 2 - (1 << 12) <= resumed_at <= len(TEXT) // 2


@pytest.mark.parametrize("content", [TEXT + b"more\n", b"<html>blocked</html>\n"])
def test_another_content_is_refused_and_not_kept(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    """Catches a proxy's login page taken for a corpus, now or by the next run."""
    server.content = content
    with pytest.raises(
        UserError, match=r"text: was not what .*/text published or first sent.*removed.*root:"
    ):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (500, 3)])
def test_a_server_that_refuses_is_one_line(
    server: Server, tmp_path: Path, status: int, requests: int
) -> None:
    """Catches asking again for what is not there, and giving up what may come back."""
    server.statuses = [status] * 9
    with pytest.raises(UserError, match=rf"/text: could not be fetched .*{status}.*root:") as error:
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert "\n" not in str(error.value)
    assert len(server.ranges) == requests


def test_no_server_is_one_line(tmp_path: Path) -> None:
    """Catches a traceback of the network's own."""
    with socket.socket() as unlistened:
        unlistened.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unlistened.getsockname()[1]}/text"
        with pytest.raises(UserError, match=rf"{url}: could not be fetched") as error:
            fetch(url, tmp_path / "text", SHA256)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "path", "count"),
    [
        ({}, "/raw/test_2016_flickr.en.gz", 8),
        ({"form": "tok"}, "/tok/test_2016_flickr.lc.norm.tok.en", 8),
        ({"source": "en", "target": "fr"}, "/raw/test_2016_flickr.fr.gz", 6),
    ],
)
def test_multi30k_downloads_into_the_cache(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    path: str,
    count: int,
) -> None:
    """Catches wrong names at the repository: its tokenized files are not compressed."""
    form = settings.get("form", "raw")
    server.content = gzip.compress(TEXT) if form == "raw" else TEXT
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(multi30k, "_URL", server.url)
    monkeypatch.setitem(multi30k._SHA256, form, dict.fromkeys(multi30k._SHA256[form], SHA256))
    corpus = Multi30k(**settings)  # type: ignore[arg-type]
    corpus.prepare()
    Multi30k(**settings).prepare()  # type: ignore[arg-type]
    assert len(server.paths) == count
    assert path in server.paths
    assert next(corpus.pairs("val")) == ("line 0: 0", "line 0: 0")


# What the source publishes no checksum for


def test_the_first_download_is_recorded(server: Server, tmp_path: Path) -> None:
    """Catches a record of something else than what lies on the disk, and leftovers."""
    path = tmp_path / "text.gz"
    server.content = gzip.compress(TEXT)
    for _ in range(2):
        fetch(f"{server.url}/text.gz", path)
    assert recorded_sha256(path) == SHA256
    assert len(server.paths) == 1
    assert names(tmp_path) == ["text.gz", "text.gz.json"]


def test_another_text_under_the_same_address_is_refused(server: Server, tmp_path: Path) -> None:
    """Catches a corpus that changes at its source, and the same text compressed anew refused."""
    path = tmp_path / "text.gz"
    server.content = gzip.compress(TEXT, 1)
    fetch(f"{server.url}/text.gz", path)
    path.unlink()
    server.content = gzip.compress(TEXT + b"one more\n")
    with pytest.raises(UserError, match=r"text\.gz: was not what .* first sent"):
        fetch(f"{server.url}/text.gz", path)
    assert names(tmp_path) == ["text.gz.json"]
    server.content = gzip.compress(TEXT, 9)
    fetch(f"{server.url}/text.gz", path)
    assert gzip.decompress(path.read_bytes()) == TEXT


@pytest.mark.parametrize("damage", ["flipped", "shorter"])
def test_a_file_that_changes_on_the_disk_is_named(
    server: Server, tmp_path: Path, damage: str
) -> None:
    """Catches training on a download that rotted, and a remembered checksum that hides it."""
    path = tmp_path / "text"
    fetch(f"{server.url}/text", path)
    content = bytearray(TEXT)
    content[50_000] ^= 1
    path.write_bytes(content if damage == "flipped" else TEXT[:-1])
    with pytest.raises(UserError, match=r"text: was not what .* published or first sent.*removed"):
        fetch(f"{server.url}/text", path)
    fetch(f"{server.url}/text", path)
    assert recorded_sha256(path) == SHA256


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    """Catches gigabytes read at every start, and a change of equal length and set-back time."""
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    os.utime(path, (1, 1))
    assert file_sha256(path) == SHA256
    other = bytearray(TEXT)
    other[0] ^= 1
    path.write_bytes(other)
    os.utime(path, (1, 1))
    assert file_sha256(path) == hashlib.sha256(other).hexdigest()


def test_a_remembered_checksum_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a memory that is never read, and a damaged one that ends a run."""
    monkeypatch.setattr(files, "_SETTLED_SECONDS", -1.0)
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    assert file_sha256(path) == SHA256
    (memory,) = (Path(os.environ["QVBENCH_CACHE"]) / "checksums").iterdir()
    memory.write_text("0" * 64)
    assert file_sha256(path) == "0" * 64
    memory.write_bytes(b"damaged")
    assert file_sha256(path) == SHA256


@pytest.mark.parametrize(
    ("name", "damage"),
    [("a.gz", "flipped"), ("a.tgz", "flipped"), ("a.gz", "truncated"), ("a.gz", "a login page")],
)
def test_a_damaged_gzip_file_is_not_recorded(
    server: Server, tmp_path: Path, name: str, damage: str
) -> None:
    """Catches damage on the way that becomes the truth for ever after, and half a corpus from a
    server that does not say how much there is."""
    packed = gzip.compress(TEXT)
    half = len(packed) // 2
    server.content = packed
    if damage == "flipped":
        server.content = packed[:half] + bytes([packed[half] ^ 0xFF]) + packed[half + 1 :]
    elif damage == "truncated":
        server.lacks_length, server.cuts = True, [half]
    else:
        server.content = b"<html>Please log in</html>"
    with pytest.raises(UserError, match=rf"{name}: was not what .*unreadable"):
        fetch(f"{server.url}/{name}", tmp_path / name)
    assert names(tmp_path) == []
    server.content = packed
    fetch(f"{server.url}/{name}", tmp_path / name)


def test_a_damaged_record_is_named(server: Server, tmp_path: Path) -> None:
    """Catches a traceback out of the JSON reader."""
    fetch(f"{server.url}/text", tmp_path / "text")
    (tmp_path / "text.json").write_bytes(b"{")
    with pytest.raises(UserError, match=r"text\.json: the record of a download cannot be read"):
        fetch(f"{server.url}/text", tmp_path / "text")


# Disks


def test_what_cannot_be_read_is_not_removed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a download of hours that is deleted for a disk that fails, or a file of somebody
    else's."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    fetch(f"{server.url}/text", tmp_path / "text")
    monkeypatch.setattr(files, "open", refuse, raising=False)
    with pytest.raises(UserError, match=r"text: cannot be read \(Input/output error\)"):
        fetch(f"{server.url}/text", tmp_path / "text")
    assert (tmp_path / "text").read_bytes() == TEXT


def test_a_full_disk_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    """Catches a full disk taken for an error of the network, and asked for three times."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "part-text").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match="the disk is full; free some space"),
        locked(tmp_path / "lock", "testing"),
    ):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert len(server.ranges) == 1


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback out of the lock."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("qvbench.data.cache.FileLock.acquire", refuse)
    with (
        pytest.raises(
            UserError, match=r"cannot be written \(Read-only file system\).*QVBENCH_CACHE"
        ),
        locked(tmp_path / "lock", "testing"),
    ):
        pass


# Several processes


def test_two_processes_resume_one_download(server: Server, tmp_path: Path) -> None:
    """Catches two that append to one part, each what the other has received already: their caches
    of token ids, and with them their locks, may differ."""
    (tmp_path / "part-text").write_bytes(TEXT[:20_000])
    server.stalls = [0.2]
    fetching = [
        threading.Thread(target=fetch, args=(f"{server.url}/text", tmp_path / "text", SHA256))
        for _ in range(2)
    ]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert (tmp_path / "text").read_bytes() == TEXT
    assert server.ranges == ["bytes=20000-"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches a lock that is none among threads, and a wait without a word."""
    inside, most = [0], [0]

    def hold() -> None:
        for _ in range(5):
            with locked(tmp_path / "lock", "testing"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                os.sched_yield()
                inside[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    with caplog.at_level("INFO"):
        with locked(tmp_path / "lock", "testing"):
            for thread in threads:
                thread.start()
            threads[0].join(0.3)
        for thread in threads:
            thread.join()
    assert most == [1]
    assert "another process is testing: waiting for it" in caplog.text
