"""A web server of the tests' own, with every bad habit a server can have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONTENT = bytes(range(256)) * 1200  # 300 kB


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        with server.turn:
            server.requests.append((self.path, asked))
            habit = server.habits.pop(0) if server.habits else "good"
        code, _, asked_to_wait = habit.partition(" after ")
        if code.isdigit():
            self.send_response(int(code))
            if asked_to_wait:
                self.send_header("Retry-After", asked_to_wait)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if habit.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", habit.removeprefix("redirect "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        getattr(self, habit)(asked)

    def begin(self, asked: str | None, *, etag: str | None = '"1"') -> bytes:
        """Send the headers of a whole or partial answer; returns the bytes it promises."""
        content = self.server.content
        same = self.headers.get("If-Range") in (None, etag)
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and same else 0
        if start >= len(content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return content[start:]

    def good(self, asked: str | None) -> None:
        self.wfile.write(self.begin(asked))

    def other_version(self, asked: str | None) -> None:
        self.wfile.write(self.begin(asked, etag='"2"'))

    def cut(self, asked: str | None) -> None:
        promised = self.begin(asked)
        self.wfile.write(promised[: min(100_000, len(promised) - 1)])
        self.close_connection = True

    def cut_at_once(self, asked: str | None) -> None:
        self.begin(asked)
        self.close_connection = True

    def stall(self, asked: str | None) -> None:
        self.wfile.write(self.begin(asked)[:100_000])
        self.wfile.flush()
        self.server.stalled.set()
        self.server.release.wait(30)
        self.close_connection = True

    def no_ranges(self, asked: str | None) -> None:
        self.wfile.write(self.begin(None, etag=None))

    def no_length(self, asked: str | None) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        content = self.server.content
        for start in range(0, len(content), 50_000):
            piece = content[start : start + 50_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.habits: list[str] = []  # one for each request; then "good"
        self.requests: list[tuple[str, str | None]] = []
        self.turn, self.stalled, self.release = threading.Lock(), threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()
