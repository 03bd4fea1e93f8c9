"""Who started this process, and what it is told: strangers are refused, orphans end, signals are heard."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

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


class Listening:
    """Collects signals while training, and gives the old handlers back."""

    def __init__(self, heard: set[int], *, speaks: bool = True) -> None:
        self.heard, self.speaks = heard, speaks
        self.old: dict[int, Any] = {}
        self.interrupted: float | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in ALL:
                # Whoever started us ignoring it (nohup, a shell's background) wants it ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.old[number] = signal.signal(number, self._note)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.heard.add(number)
        if number != signal.SIGINT:
            return
        if self.interrupted is None:
            self.interrupted = time.monotonic()
            if self.speaks:
                os.write(2, b"Ctrl-C: saving after this step; once more ends at once\n")
        elif "TORCHELASTIC_RUN_ID" not in os.environ or time.monotonic() - self.interrupted > _ECHO_S:
            raise KeyboardInterrupt
