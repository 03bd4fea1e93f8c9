"""A real Dask cluster on this machine, for the tests of several rooms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[3]
DASK = [sys.executable, "-m", "dask"]


@pytest.fixture
def local(tmp_path):
    """A scheduler and two workers of one thread each, every one a process of its own."""
    there = tmp_path / "cluster"
    there.mkdir()
    file = there / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
    place = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    commands = [["scheduler", "--port", "0", *place]]
    worker = ["--nthreads", "1", "--no-nanny", "--local-directory", str(there)]
    commands += [["worker", *worker, *place, "--name", f"w{number}"] for number in range(2)]
    processes = []
    try:
        for command in commands:
            output = open(there / f"{len(processes)}.log", "wb")  # noqa: SIM115
            processes.append(
                subprocess.Popen([*DASK, *command], cwd=there, env=environment, stdout=output, stderr=output)
            )
            deadline = time.monotonic() + 60
            while not file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield SimpleNamespace(address=address, scheduler=processes[0], workers=processes[1:])
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
