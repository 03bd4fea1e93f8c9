"""Opening a written page in a real browser: what it logs, what it asks the network for, how it looks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image


class Opened(NamedTuple):
    """What a browser met: lines of its console, addresses it asked for, and a picture of the page."""

    console: list[str]
    asked: set[str]
    picture: Image.Image


def open_in_browser(page: Path, folder: Path, width: int, height: int = 3000) -> Opened:
    """Open ``page`` in headless Chromium; skips with a reason where there is none."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    shot, net = folder / "shot.png", folder / "net.json"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net}",
        f"--window-size={width},{height}", f"--screenshot={shot}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', net.read_text()))
    # The browser's own services are not the page's requests.
    foreign = {url for url in asked if not re.search(r"google|gvt1|chrome", url)}
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(console, foreign, Image.open(shot))
