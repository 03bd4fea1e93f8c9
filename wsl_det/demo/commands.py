"""Running the demo's tools as a user would: alone on the terminal, or two at once on a core each."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wsl_det.core import config
from wsl_det.errors import WslError


@dataclass(frozen=True)
class Stage:
    """One command of the demo, and the file by which its being done is known.

    Neighbouring stages with the same non-empty ``together`` run at the same time; ``mark`` opens
    the lines of each.
    """

    title: str
    tool: str
    arguments: tuple[str, ...]
    product: Path
    together: str = ""
    mark: str = ""


def call(tools: Path, stage: Stage) -> float:
    """Run one stage; the seconds it took. Raises WslError when it fails or makes nothing."""
    _show(stage)
    began = time.monotonic()
    # No pipe: the tool's progress bars and messages go straight to the terminal.
    done = subprocess.run(_command(tools, stage), check=False, env=_environment())
    _check(stage, done.returncode)
    return _told(stage, began)


def call_together(tools: Path, stages: Sequence[Stage]) -> list[float]:
    """Run stages at the same time with one thread each; the seconds each took.

    A small network gains nothing from a second thread (0.81 s a step with one and with two on two
    cores), so two trainings side by side take the time of one. When one fails, the others are
    stopped too; they keep their checkpoints.
    """
    for stage in stages:
        _show(stage)
    began = time.monotonic()
    environment = {**_environment(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    running = [
        subprocess.Popen(
            _command(tools, s), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for s in stages
    ]
    readers = [_relay(process.stdout, stage.mark) for process, stage in zip(running, stages, strict=True)]
    try:
        while all(p.poll() in (None, 0) for p in running) and any(p.poll() is None for p in running):
            time.sleep(0.1)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process, reader in zip(running, readers, strict=True):
            process.wait()
            reader.join()
    # The one that failed by itself first: the others were stopped by a signal, a code below 0.
    for stage, process in sorted(zip(stages, running, strict=True), key=lambda s: -s[1].returncode):
        _check(stage, process.returncode)
    return [_told(stage, began) for stage in stages]


def _show(stage: Stage) -> None:
    print(f"$ {shlex.join(['python', f'tools/{stage.tool}.py', *stage.arguments])}", flush=True)


def _command(tools: Path, stage: Stage) -> list[str]:
    arguments = [str(config.config_path(a)) if a.startswith("configs/") else a for a in stage.arguments]
    return [sys.executable, str(tools / f"{stage.tool}.py"), *arguments]


def _environment() -> dict[str, str]:
    # Threads that wait by spinning slow each other down when the cores have other work too: measured
    # 14 s a step against 2.1 s at load 7 on two cores.
    return {"OMP_WAIT_POLICY": "passive", **os.environ}


def _relay(lines: IO[str] | None, mark: str) -> threading.Thread:
    """Print a process's lines as they come, with its mark before each."""

    def copy() -> None:
        if lines is None:
            return
        with lines:
            for line in lines:
                print(f"{mark:9s} | {line}", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _check(stage: Stage, code: int) -> None:
    if code != 0:
        raise WslError(
            f"the demo stopped at '{stage.title}': {stage.tool} ended with code {code}, its "
            "message is above; finished stages are kept, and the same command goes on from here"
        )
    if not stage.product.exists():
        raise WslError(f"{stage.tool} ended without making {stage.product}; please report this")


def _told(stage: Stage, began: float) -> float:
    seconds = time.monotonic() - began
    print(f"-- {stage.title}: {seconds:.1f} s", flush=True)
    return seconds
