"""A small HTTP server on loopback that does to its files what networks do."""

from __future__ import annotations

import re
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler


class Server(socketserver.ThreadingTCPServer):
    """Serves ``files`` by path, and ``content`` for every other path where there is any.

    Attributes:
        cuts: bytes after which the next answers break off; empty: none does.
        statuses: errors that the next answers have; empty: none has.
        ranges: the ranges that were asked for.
        paths: the paths that were asked for.
        resumes: whether ranges are honored.
        stalls: seconds of silence in the middle of the next answers; empty: none is silent.
        lacks_length: answers without a length, ended by the end of the connection.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, content: bytes | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = content
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.resumes = True
        self.stalls: list[float] = []
        self.lacks_length = False

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
        content = server.files.get(self.path, server.content)
        status = server.statuses.pop(0) if server.statuses else 0
        if status or content is None:
            self.send_error(status or 404)
            return
        partly = asked is not None and server.resumes
        start = int(re.findall(r"\d+", asked)[0]) if partly and asked else 0
        if partly and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if partly else 200)
        if partly:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not server.lacks_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(content[start:])

    def _send(self, body: bytes) -> None:
        body = body[: self.server.cuts.pop(0)] if self.server.cuts else body
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.server.stalls:
            self.wfile.flush()
            time.sleep(self.server.stalls.pop(0))
        self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(content: bytes | None = None) -> Iterator[Server]:
    """A server that runs until the end of the block."""
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
