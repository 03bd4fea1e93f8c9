"""Locks: who is second is told who is first, and a killed holder holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wsl_det.core import locks
from wsl_det.errors import ConfigError

HOLDER = """
import os, sys, time
from pathlib import Path
from wsl_det.core import locks
with locks.alone(Path(sys.argv[1]), "x", ""):
    if os.fork() == 0:  # as the workers of a loader are
        print("held", flush=True)  # here: before its first step the fork has not let go yet
        time.sleep(30)
        os._exit(0)
    time.sleep(30)
"""


def test_a_killed_holder_holds_nothing_though_its_forks_live_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            with pytest.raises(ConfigError) as told, locks.alone(path, "runs/x", "wait for it"):
                pass
            assert f"another process is at work on runs/x (process {process.pid} on " in str(told.value)
            process.kill()
            process.wait()
            with locks.alone(path, "runs/x", "wait for it"):
                assert str(os.getpid()) in locks.holder(path)
            assert not path.exists()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_waiter_gets_the_lock_when_the_holder_is_done(tmp_path: Path) -> None:
    path, order = tmp_path / ".lock", []

    def second() -> None:
        with locks.alone(path, "x", "", wait_s=30):
            order.append("second")

    with locks.alone(path, "x", ""):
        waiter = threading.Thread(target=second)
        waiter.start()
        waiter.join(0.2)
        order.append("first")
    waiter.join(30)
    assert order == ["first", "second"]
    with locks.alone(path, "x", ""), pytest.raises(ConfigError), locks.alone(path, "x", "", wait_s=0.1):
        pass
