"""Who started this process, and what it is told: strangers are refused, orphans end, signals are heard."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

from wsl_det.errors import ConfigError

# What tells a process that torchrun, or whoever sets the same, gave it a place in a job.
_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Processes started side by side. Not SLURM_NTASKS: the body of a batch script has it too, and runs once.
_COUNTS = {
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "WORLD_SIZE": "a launcher",
}
_PR_SET_PDEATHSIG = 1
# On these a run saves after its step and ends; SIGUSR1 only saves.
ENDING = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP"}
ALL = (*ENDING, signal.SIGUSR1)
# torchrun passes on a Ctrl-C that the terminal gives its workers too: what follows so soon is the same one.
_ECHO_S = 1.0


def joined() -> bool:
    """Whether the environment gives this process a place in a job, as torchrun's does."""
    return os.environ.keys() >= set(_PLACE)


def refuse_strangers(machines: int = 1) -> None:
    """ConfigError in one of several processes that know nothing of each other: each would do all the work.

    As many as there are ``machines`` are what ``--num-machines`` speaks of.
    """
    if joined():
        return
    for name, who in _COUNTS.items():
        told = os.environ.get(name, "")
        if told.isdecimal() and int(told) > machines:
            missing = ", ".join(n for n in _PLACE if n not in os.environ)
            raise ConfigError(
                f"{who} started {told} processes of this command ({name}), but without {missing} each would "
                "do all the work in the same folder: start one process (srun --ntasks 1) with --num-gpus, or "
                "have torchrun start them, one torchrun a machine, as tools/pretrain.sbatch does"
            )


def end_with_parent(parent: int) -> None:
    """Have this process get SIGTERM when ``parent``, which started it, dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGTERM)


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """While inside, ``handler`` is called on these signals; only the main thread can hear any."""
    mine = threading.current_thread() is threading.main_thread()
    # Whoever started us ignoring one (nohup, a shell's background) wants it ignored.
    heard = [n for n in numbers if mine and signal.getsignal(n) is not signal.SIG_IGN]
    old = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def listening(heard: set[int], *, speaks: bool = True) -> AbstractContextManager[None]:
    """While inside, signals are collected in ``heard``; a second Ctrl-C ends the process at once."""
    interrupted: float | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        heard.add(number)
        if number != signal.SIGINT:
            return
        if interrupted is None:
            interrupted = time.monotonic()
            if speaks:
                with suppress(OSError):  # of a terminal that is gone: the run is to be saved all the same
                    os.write(2, b"Ctrl-C: saving after this step; once more ends at once\n")
        elif "TORCHELASTIC_RUN_ID" not in os.environ or time.monotonic() - interrupted > _ECHO_S:
            raise KeyboardInterrupt

    return handling(ALL, note)
