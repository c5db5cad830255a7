"""Downloads: verified, resumed, never half there. Against a small server of our own."""

from __future__ import annotations

import gzip
import hashlib
import re
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from qvbench.data.corpora import Multi30k, multi30k
from qvbench.data.corpora.download import fetch
from qvbench.errors import UserError

TEXT = "".join(f"line {number}: {number * number}\n" for number in range(9000)).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Server(socketserver.ThreadingTCPServer):
    """Serves ``content``, whatever the path.

    Attributes:
        cuts: bytes after which the next answers break off; empty: none does.
        ranges: the ranges that were asked for.
        status: an error that every answer has, if any.
        resumes: whether ranges are honoured.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = TEXT
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.status = 0
        self.resumes = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        server.paths.append(self.path)
        start = int(re.findall(r"\d+", asked)[0]) if asked and server.resumes else 0
        if server.status:
            self.send_error(server.status)
        elif start >= len(server.content):
            self.send_error(416)
        else:
            body = server.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


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
    """Catches wrong names at the repository: its tokenised files are not compressed."""
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
