"""Who started this process: several that know nothing of each other are refused, orphans end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

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


def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Have this process get signal ``number`` when ``parent``, which started it, dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), number)
