"""Runs one training as a process of its own: output passed on, signals handed down, divergence told apart."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from wsl_det.core import processes
from wsl_det.errors import WslError

_TAIL = 12
# How a training that the learning rate has blown up ends: our loop's words, and Detectron2's.
_DIVERGED = ("the loss is not finite", "Training has diverged")


def train(command: Sequence[str], title: str) -> str:
    """Run ``command`` to its end; "" when it succeeded, else why it diverged.

    Raises WslError with the last words of a command that failed otherwise. SIGTERM and SIGINT go
    on to the child, which saves a checkpoint; then this process ends as it would have.
    """
    code, tail = call(command)
    if code == 0:
        return ""
    told = next((line for line in reversed(tail) if any(words in line for words in _DIVERGED)), None)
    if told is not None:
        return told.removeprefix("error: ")
    raise WslError(f"{title} ended with exit code {code}; its last words:\n  " + "\n  ".join(tail))


def call(command: Sequence[str]) -> tuple[int, list[str]]:
    """Exit code and the last lines on stderr of a command, whose output also appears here as it comes."""
    tail: deque[str] = deque(maxlen=_TAIL)
    # The child finds wsl_det where this process has it, installed or not.
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH")) if p)
    child = subprocess.Popen(
        list(command),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
        # A session of its own: Ctrl-C reaches it once, through us. It ends with us, even with kill -9.
        start_new_session=True,
        preexec_fn=functools.partial(processes.end_with_parent, os.getpid()),  # noqa: PLW1509 (one thread here)
    )
    with child, _handing_down(child) as received:
        assert child.stderr is not None
        for line in child.stderr:
            sys.stderr.write(line)
            tail.append(line.rstrip("\n"))
        code = child.wait()
    if received:
        raise SystemExit(128 + received[0])
    return code, list(tail)


@contextmanager
def _handing_down(child: subprocess.Popen[str]) -> Iterator[list[int]]:
    """While inside, SIGTERM and SIGINT reach the child as SIGTERM; yields the signals received.

    A second SIGINT ends the child at once.
    """
    received: list[int] = []

    def hand_down(number: int, frame: FrameType | None) -> None:
        received.append(number)
        child.send_signal(signal.SIGKILL if received.count(signal.SIGINT) > 1 else signal.SIGTERM)

    with processes.handling((signal.SIGTERM, signal.SIGINT), hand_down):
        yield received
