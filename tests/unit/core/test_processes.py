"""Processes that somebody else started: a place in a job, or refused."""

from __future__ import annotations

import pytest

from wsl_det.core import dist, processes
from wsl_det.errors import ConfigError

PLACE = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*PLACE, *processes._COUNTS, "SLURM_NTASKS"}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "env",
    [
        {"SLURM_STEP_NUM_TASKS": "2"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_SIZE": "2"},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"},
        {"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
    ],
)
def test_many_processes_without_a_place_are_refused(env, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"without .*MASTER_ADDR.* torchrun"):
        dist.launch(lambda: None)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SLURM_NTASKS": "8"},  # the body of a batch script, which runs once
        {"SLURM_STEP_NUM_TASKS": "1", "WORLD_SIZE": "1"},
        {"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "1", **PLACE},
        {"TORCHELASTIC_RUN_ID": "of another program"},
    ],
)
def test_one_process_and_those_with_a_place_run(env, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert dist.launch(lambda: 7) == 7


def test_one_task_a_machine_is_what_num_machines_speaks_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    processes.refuse_strangers(2)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    with pytest.raises(ConfigError, match="srun started 16 processes"):
        processes.refuse_strangers(2)
