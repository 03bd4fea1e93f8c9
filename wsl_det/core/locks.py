"""Locks that live as long as the process that holds them; whoever comes second is told who that is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from wsl_det.core import log
from wsl_det.errors import ConfigError, WslError


@contextmanager
def alone(
    path: Path, what: str, advice: str, *, wait_s: float = 0.0, error: type[WslError] = ConfigError
) -> Iterator[None]:
    """Hold the lock file ``path``, which is gone afterwards; the kernel frees it when this process dies.

    A folder that several machines see is locked for all of them where its file system does so. Waits
    ``wait_s`` seconds (below 0: for ever) for whoever has it, then raises ``error``: another process is
    at work on ``what``, which one, and ``advice``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait_s:
            log.get().info("another process is at work on %s (%s); waiting for it", what, holder(path))
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            raise error(f"another process is at work on {what} ({holder(path)}); {advice}") from None
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}\n")
        yield
    finally:
        path.unlink(missing_ok=True)  # a waiter that gets the lock of a file without a name tries anew
        lock.release()


def holder(path: Path) -> str:
    """What the holder of a lock file wrote into it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()[:200] or "it does not say which"
    except OSError:
        return "it does not say which"
