"""tools/pretrain.sbatch with a pretended Slurm: what it starts, and when it asks for the queue again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "pretrain.sbatch"


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder whose programs write down their words: python and torchrun of the VENV, srun, scontrol."""
    programs = {
        # The second host late: a reader that is gone by then must not end the script.
        "scontrol": '[ "$1" = show ] || exec echo "scontrol $*" >> "$SAID"; echo n1; sleep 0.1; echo n2',
        "srun": 'echo "srun $*" >> "$SAID"; exit "${SRUN_CODE:-0}"',
        "bin/python": 'echo "python $*" >> "$SAID"; exit "${PLAN_CODE:-0}"',
    }
    for name, body in programs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def _run(slurm: Path, *words: str, **env: str) -> tuple[int, str]:
    said = slurm / "said"
    said.write_text("")
    names = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}
    slurm_env = {**names, "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_GPUS_ON_NODE": "4", "VENV": str(slurm)}
    path = f"{slurm}{os.pathsep}{os.environ['PATH']}"
    whole = {**os.environ, **slurm_env, "PATH": path, "SAID": str(said), **env}
    done = subprocess.run(
        ["bash", str(SCRIPT), *words], env=whole, capture_output=True, text=True, check=False
    )
    return done.returncode, said.read_text() + done.stderr


def test_every_machine_gets_a_torchrun_that_resumes(slurm: Path) -> None:
    code, said = _run(slurm, "c.yaml", "OUTPUT_DIR", "/runs/x")
    assert code == 0
    plan, start = said.splitlines()
    assert "--plan --num-gpus 4 --num-machines 2 OUTPUT_DIR /runs/x" in plan
    for part in (
        "--nnodes 2 --nproc-per-node 4",
        "--rdzv-endpoint n1:29500",
        "--config-file c.yaml --resume OUTPUT_DIR /runs/x",
    ):
        assert part in start, start


def test_a_failed_step_goes_back_to_the_queue_and_a_wrong_command_does_not(slurm: Path) -> None:
    assert "scontrol requeue 7" in _run(slurm, "c.yaml", SRUN_CODE="1")[1]
    code, said = _run(slurm, "c.yaml", PLAN_CODE="2")
    assert code == 2 and "srun" not in said and "requeue" not in said
    code, said = _run(slurm, "c.yaml", SRUN_CODE="1", SLURM_RESTART_COUNT="50")
    assert code == 1 and "scontrol requeue" not in said and "look at the log" in said
    assert _run(slurm)[0] == 2
