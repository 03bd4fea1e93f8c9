"""A headless Chromium that a test can press keys in, driven over its DevTools pipe: no package is needed."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 60.0
_NAMED = {"Backspace": 8, "End": 35, "ArrowLeft": 37, "ArrowRight": 39}


class Page:
    """One open page: its console's errors, the addresses it asked for, and what can be done to it."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._number, self._rest, self._session = 0, b"", None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._orders, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self._note(answer)

    def open(self, url: str, size: tuple[int, int] = (1100, 900)) -> None:
        """Go to a page and wait until it stands."""
        phone = size[0] < 600
        width, height = size
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON values."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait for an expression to become true."""
        end = time.monotonic() + _SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key and let it go, as a keyboard does."""
        self.hold(key)
        self.release(key)

    def hold(self, key: str) -> None:
        """Press a key."""
        self.send("Input.dispatchKeyEvent", type="keyDown", **self._key(key))

    def release(self, key: str) -> None:
        """Let a key go."""
        self.send("Input.dispatchKeyEvent", type="keyUp", **self._key(key))

    def tap(self, selector: str) -> None:
        """Press and lift the mouse in the middle of an element."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text: str) -> None:
        """Type text into what has the focus."""
        self.send("Input.insertText", text=text)

    def shot(self, path: Path) -> None:
        """A screenshot as PNG."""
        path.write_bytes(b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _key(self, key: str) -> dict[str, Any]:
        code = 13 if key == "Enter" else _NAMED.get(key, ord(key.upper()[0]))
        text = {"text": "\r" if key == "Enter" else key} if key not in _NAMED else {}
        return {"key": key, "windowsVirtualKeyCode": code, **text}

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._answers, 1 << 16)
            assert part, "Chromium has gone"
            self._rest += part
        whole, _, self._rest = self._rest.partition(b"\0")
        return json.loads(whole)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A fresh browser with its profile in ``folder``; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed")
    command = [
        found, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
        "--no-first-run", "--disable-extensions", f"--user-data-dir={folder / 'profile'}",
    ]  # fmt: skip
    (take, orders), (answers, give) = os.pipe(), os.pipe()
    # Above the two descriptors on which Chromium takes its orders and answers.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (take, give)]
    null = os.open(os.devnull, os.O_RDWR)
    moves = [(os.POSIX_SPAWN_DUP2, source, to) for source, to in ((null, 0), (null, 1), (null, 2))]
    moves += [(os.POSIX_SPAWN_DUP2, ends[0], 3), (os.POSIX_SPAWN_DUP2, ends[1], 4)]
    process = os.posix_spawn(found, command, os.environ, file_actions=moves)
    for end in (take, give, null, *ends):
        os.close(end)
    try:
        yield Page(orders, answers)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(orders)
        os.close(answers)
