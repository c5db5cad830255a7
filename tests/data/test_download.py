"""Downloads: verified, resumed, never half there. Against a small server of our own."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qvbench.data.corpora import Multi30k, download, multi30k
from qvbench.data.corpora.checksums import known_file_sha256, read_record, record_file
from qvbench.data.corpora.download import fetch, fetch_recorded
from qvbench.data.locks import locked
from qvbench.errors import UserError
from tests.data.http_server import Server, serving

TEXT = "".join(f"line {number}: {number * number}\n" for number in range(9000)).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(TEXT) as server:
        yield server


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    """Catches downloading anew at every start, and leftovers beside the file."""
    path = tmp_path / "folder" / "text"
    fetch(f"{server.url}/text", path, SHA256)
    fetch(f"{server.url}/text", path, SHA256)
    assert path.read_bytes() == TEXT
    assert server.ranges == [None]
    assert [file.name for file in path.parent.iterdir()] == ["text"]


def test_the_checksum_is_of_the_decompressed_text(server: Server, tmp_path: Path) -> None:
    server.content = gzip.compress(TEXT)
    fetch(f"{server.url}/text.gz", tmp_path / "text.gz", SHA256)
    assert gzip.decompress((tmp_path / "text.gz").read_bytes()) == TEXT


def test_a_cut_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    """Catches starting over, and a gap or an overlap at the seam."""
    server.cuts = [50_000, 10_000]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    assert server.ranges == [None, "bytes=50000-", "bytes=60000-"]


def test_a_killed_download_is_taken_up_by_the_next_run(server: Server, tmp_path: Path) -> None:
    server.cuts = [40_000, 1000, 1000]
    with pytest.raises(UserError, match=r"could not be fetched .*cut.* root:"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert not (tmp_path / "text").exists()
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    assert server.ranges[-1] == "bytes=42000-"


def test_a_server_without_ranges_sends_all_of_it_anew(server: Server, tmp_path: Path) -> None:
    """Catches appending the whole file to its first half."""
    server.resumes = False
    server.cuts = [40_000]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT


def test_a_complete_part_needs_no_more(server: Server, tmp_path: Path) -> None:
    """Catches a run killed between the last byte and the renaming, that can never go on."""
    (tmp_path / "part-text").write_bytes(TEXT)
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT


@pytest.mark.parametrize("content", [TEXT + b"more\n", b"<html>blocked</html>\n"])
def test_another_content_is_refused_and_not_kept(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    """Catches a proxy's login page taken for a corpus, now or by the next run."""
    server.content = content
    with pytest.raises(UserError, match=r"/text: what arrived is not the published file.*root:"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(UserError, match=r"127.0.0.1.*/text: could not be fetched .*404.*root:"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert len(server.ranges) == 1


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/text: could not be fetched") as fault:
        fetch("http://127.0.0.1:9/text", tmp_path / "text", SHA256)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("form", "path"),
    [("raw", "/raw/test_2016_flickr.en.gz"), ("tok", "/tok/test_2016_flickr.lc.norm.tok.en")],
)
def test_multi30k_downloads_into_the_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, path: str
) -> None:
    """Catches wrong names at the repository: its tokenized files are not compressed."""
    server.content = gzip.compress(TEXT) if form == "raw" else TEXT
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(multi30k, "_URL", server.url)
    monkeypatch.setitem(multi30k._SHA256, form, dict.fromkeys(multi30k._SHA256[form], SHA256))
    corpus = Multi30k(form=form)  # type: ignore[arg-type]
    corpus.prepare()
    Multi30k(form=form).prepare()  # type: ignore[arg-type]
    assert len(server.paths) == 8
    assert path in server.paths
    assert next(corpus.pairs("val")) == ("line 0: 0", "line 0: 0")


# What the source publishes no checksum for


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_first_download_is_recorded(server: Server, tmp_path: Path) -> None:
    """Catches a record of something else than what lies on the disk, and leftovers."""
    path = tmp_path / "text.gz"
    server.content = gzip.compress(TEXT)
    record = fetch_recorded(f"{server.url}/text.gz", path)
    assert record.text_sha256 == SHA256
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.bytes == path.stat().st_size
    assert read_record(path) == record
    assert fetch_recorded(f"{server.url}/text.gz", path) == record
    assert len(server.paths) == 1
    assert names(tmp_path) == ["text.gz", "text.gz.json"]


def test_another_text_under_the_same_address_is_refused(server: Server, tmp_path: Path) -> None:
    """Catches a corpus that changes at its source between two machines' downloads."""
    path = tmp_path / "text"
    fetch_recorded(f"{server.url}/text", path)
    path.unlink()
    server.content = TEXT + b"one more\n"
    with pytest.raises(UserError, match=r"/text: what arrived is not what it was at the first"):
        fetch_recorded(f"{server.url}/text", path)
    assert names(tmp_path) == ["text.json"]
    server.content = TEXT
    fetch_recorded(f"{server.url}/text", path)
    assert path.read_bytes() == TEXT


def test_the_same_text_compressed_anew_is_taken(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    server.content = gzip.compress(TEXT, 1)
    fetch_recorded(f"{server.url}/text.gz", path)
    path.unlink()
    server.content = gzip.compress(TEXT, 9)
    for _ in range(2):
        assert fetch_recorded(f"{server.url}/text.gz", path).text_sha256 == SHA256
    assert len(server.paths) == 2


@pytest.mark.parametrize("damage", ["flipped", "shorter"])
def test_a_file_that_changes_on_the_disk_is_named(
    server: Server, tmp_path: Path, damage: str
) -> None:
    """Catches training on a download that rotted, and a remembered checksum that hides it."""
    path = tmp_path / "text"
    fetch_recorded(f"{server.url}/text", path)
    content = bytearray(TEXT)
    content[50_000] ^= 1
    path.write_bytes(content if damage == "flipped" else TEXT[:-1])
    with pytest.raises(UserError, match=r"text: is not the file that was downloaded .*remove it"):
        fetch_recorded(f"{server.url}/text", path)
    path.unlink()
    assert fetch_recorded(f"{server.url}/text", path).text_sha256 == SHA256


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    """Catches gigabytes read at every start, and a change of equal length and set-back time."""
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    os.utime(path, (1, 1))
    before = path.stat()
    assert known_file_sha256(path) == SHA256
    other = bytearray(TEXT)
    other[0] ^= 1
    path.write_bytes(other)
    os.utime(path, (1, 1))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert known_file_sha256(path) == hashlib.sha256(other).hexdigest()


def test_a_remembered_checksum_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qvbench.data.corpora.checksums._SETTLED_SECONDS", -1.0)
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    assert known_file_sha256(path) == SHA256
    (memory,) = (Path(os.environ["QVBENCH_CACHE"]) / "checksums").iterdir()
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"sha256": "remembered"}))
    assert known_file_sha256(path) == "remembered"
    memory.write_bytes(b"damaged")
    assert known_file_sha256(path) == SHA256


def test_a_damaged_gzip_file_is_not_recorded(server: Server, tmp_path: Path) -> None:
    """Catches damage on the way that becomes the truth for ever after."""
    content = bytearray(gzip.compress(TEXT))
    content[len(content) // 2] ^= 0xFF
    server.content = bytes(content)
    with pytest.raises(UserError, match=r"/text\.gz: what arrived is damaged"):
        fetch_recorded(f"{server.url}/text.gz", tmp_path / "text.gz")
    assert names(tmp_path) == []
    server.content = gzip.compress(TEXT)
    fetch_recorded(f"{server.url}/text.gz", tmp_path / "text.gz")


def test_a_truncated_answer_without_a_length_is_not_taken(server: Server, tmp_path: Path) -> None:
    """Catches half a corpus from a server that does not say how much there is."""
    server.lacks_length = True
    server.content = gzip.compress(TEXT)
    server.cuts = [len(server.content) // 2]
    with pytest.raises(UserError, match="what arrived is damaged"):
        fetch_recorded(f"{server.url}/text.gz", tmp_path / "text.gz")


def test_a_damaged_record_is_named(server: Server, tmp_path: Path) -> None:
    fetch_recorded(f"{server.url}/text", tmp_path / "text")
    record_file(tmp_path / "text").write_bytes(b"{")
    with pytest.raises(UserError, match=r"text\.json: the record of a download cannot be read"):
        fetch_recorded(f"{server.url}/text", tmp_path / "text")


# Networks


def test_a_file_that_changed_between_two_runs_starts_anew(server: Server, tmp_path: Path) -> None:
    """Catches two versions of a file spliced together."""
    server.tagged = True
    server.content = b"old " * 30_000
    server.cuts = [70_000, 0, 0, 0]
    with pytest.raises(UserError, match="cut"):
        fetch_recorded(f"{server.url}/text", tmp_path / "text")
    server.content = TEXT
    assert fetch_recorded(f"{server.url}/text", tmp_path / "text").text_sha256 == SHA256
    assert server.ranges[-1] == "bytes=70000-"


def test_a_file_that_became_shorter_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part-text").write_bytes(TEXT + b"from another time")
    assert fetch_recorded(f"{server.url}/text", tmp_path / "text").text_sha256 == SHA256


def test_many_cuts_do_not_end_a_download_that_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a count of attempts that ends a download of hours at its third cut."""
    monkeypatch.setattr(download, "_CHUNK", 1 << 12)
    server.cuts = [5_000] * 10
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert len(server.ranges) == 11


def test_an_error_of_the_server_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [500, 503]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT


def test_a_server_that_only_fails_is_one_line(server: Server, tmp_path: Path) -> None:
    server.status = 500
    with pytest.raises(UserError, match=r"could not be fetched .*500") as fault:
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert "\n" not in str(fault.value)
    assert len(server.ranges) == 3


def test_a_silent_connection_is_given_up_and_resumed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a download that hangs for ever."""
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(download, "_CHUNK", 1 << 12)
    server.stalls = [0.5]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert (tmp_path / "text").read_bytes() == TEXT
    half = len(TEXT) // 2
    assert server.ranges == [None, f"bytes={half}-"]


def test_a_slow_connection_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.stalls = [0.3]
    fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert len(server.ranges) == 1


# Disks


def test_a_full_disk_is_named_and_the_part_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a full disk taken for a fault of the network, and asked for three times."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "part-text").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"part-text: the disk is full; free some space"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert len(server.ranges) == 1


def test_too_little_space_is_said_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"bytes are to be fetched, 1,000 are free"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)
    assert names(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("qvbench.data.locks.os.open", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        fetch(f"{server.url}/text", tmp_path / "text", SHA256)


# Several processes


def _fetch(url: str, path: Path) -> None:
    fetch_recorded(url, path)


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    """Catches two writers of one part, and a second download."""
    server.stalls = [0.3]
    context = multiprocessing.get_context("spawn")
    url, path = f"{server.url}/text", tmp_path / "text"
    both = [context.Process(target=_fetch, args=(url, path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.paths) == 1
    assert names(tmp_path) == ["text", "text.json"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """Catches a waiter that is let in by a removed lock file."""
    inside, most = [0], [0]

    def hold() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock", "testing"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                os.sched_yield()
                inside[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert names(tmp_path) == []
