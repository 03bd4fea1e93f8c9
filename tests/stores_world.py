"""Stores on this machine: nginx and a proxy before it that behaves as networks do, and moto's S3."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from wsl_det.core import addresses, stores

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
_CONF = """daemon off; pid {work}/pid; error_log {work}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {work}/t1; proxy_temp_path {work}/t2;
fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }} }}"""


def quick(monkeypatch: Any, cache: Path, timeout: float) -> None:
    """Stores that are asked again at once, and a cache of this test's own."""
    monkeypatch.setattr(stores, "FIRST_WAIT", 0.001)
    monkeypatch.setenv(stores.TIMEOUT, str(timeout))
    monkeypatch.setenv(addresses.CACHE, str(cache))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int, seconds: float = 20) -> None:
    """Return when somebody listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on {port}")


@contextmanager
def nginx(root: Path, work: Path) -> Iterator[int]:
    """nginx serving ``root``; its port."""
    assert NGINX
    port = free_port()
    work.mkdir(parents=True, exist_ok=True)
    user = "user root;\n" if os.getuid() == 0 else ""  # else its workers would be another user's
    (work / "conf").write_text(user + _CONF.format(work=work, port=port, root=root))
    with subprocess.Popen([NGINX, "-c", str(work / "conf"), "-e", str(work / "error.log")]) as server:
        try:
            wait_for(port)
            yield port
        finally:
            server.terminate()


class Loopback(ThreadingHTTPServer):
    """A server of this machine's own, serving inside its block."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Proxy(Loopback):
    """Stands before a server on ``upstream``: delays, fails a share of requests, or does what ``rule`` says.

    rule(path, range, number of the request) gives None, a status, "cut", "hang", "whole", "shifted"
    or "empty". ``asked`` are (path, range) of every GET.
    """

    def __init__(
        self,
        upstream: int,
        *,
        delay: float = 0.0,
        failing: float = 0.0,
        rule: Callable[[str, str, int], str | None] = lambda path, span, number: None,
    ) -> None:
        super().__init__(_Handler)
        self.upstream, self.delay, self.failing, self.rule = upstream, delay, failing, rule
        self.asked: list[tuple[str, str]] = []
        self.chance = random.Random(0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def log_message(self, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer("HEAD", None)

    def do_GET(self) -> None:
        server, span = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, span))
        what = server.rule(self.path, span, len(server.asked))
        if what is None and server.failing and server.chance.random() < server.failing:
            what = server.chance.choice(["503", "429", "cut"])
        self._answer("GET", what)

    def _answer(self, method: str, what: str | None) -> None:
        time.sleep(self.server.delay)
        if what is not None and what.isdigit():
            self.send_response(int(what))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        span = self.headers.get("Range", "")
        if what == "shifted":  # says what was asked, gives what was not
            first, last = (int(x) for x in span.removeprefix("bytes=").split("-"))
            span, told = f"bytes={first + 7}-{last + 7}", f"bytes {first}-{last}/"
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream)
        upstream.request(method, self.path, headers={"Range": span} if span and what != "whole" else {})
        found = upstream.getresponse()
        data = found.read()
        self.send_response(found.status)
        for name in ("Content-Range", "ETag", "Content-Type", "Accept-Ranges", "Content-Length"):
            value = found.headers.get(name)
            if value is not None and name == "Content-Range" and what == "shifted":
                value = told + value.rpartition("/")[2]
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if method == "HEAD":
            return
        if what in ("cut", "hang", "empty"):
            self.wfile.write(data[: 0 if what == "empty" else len(data) // 2])
            self.wfile.flush()
            if what == "hang":
                time.sleep(5)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(data)


@contextmanager
def s3(set_env: Callable[[str, str], None], bucket: str = "bucket") -> Iterator[str]:
    """moto's S3 with a bucket, named to s3fs by the environment; its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        set_env(name, "testing")
    set_env("AWS_ENDPOINT_URL", url)
    set_env("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")):
        pass  # what it holds is the process's, not the server's
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    try:
        yield url
    finally:
        server.stop()
