"""A study on a Slurm cluster: an array of jobs for each stage, each waiting for those before it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det.core import files
from wsl_det.errors import ConfigError, WslError
from wsl_det.study import jobs
from wsl_det.study.jobs import DIVERGED, FINISHED, Job
from wsl_det.study.run import Progress

REPORT = "report"
# As tools/pretrain.sbatch: five minutes before the time is up the script puts the job back into the queue,
# and Slurm ends the step with SIGTERM, on which every training saves. Another failure ends the job, and what
# waits for it is not started.
_SCRIPT = """\
#!/usr/bin/env bash
# Stage {stage} of {study}; written by wsl-det run_study --submit slurm.
#SBATCH --job-name={name}-{stage}
#SBATCH --output={logs}/{stage}-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
{options}
set -euo pipefail
requeue() {{
    if [ "${{SLURM_RESTART_COUNT:-0}}" -ge "${{MAX_REQUEUES:-50}}" ]; then
        echo "requeued ${{SLURM_RESTART_COUNT}} times already; look at the log before going on" >&2
        exit 1
    fi
    scontrol requeue "$SLURM_JOB_ID"
}}
trap requeue USR1
cd {folder}
{command} &
# A trap runs only between commands, so the work is waited for in the background.
wait $!
"""


def submit(progress: Progress, path: Path) -> list[str]:
    """Write a script for each stage into OUTPUT/slurm and give it to ``sbatch``; lines for a terminal.

    Jobs that are done are left out. Raises ConfigError without sbatch, and WslError where it refuses.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError("--submit slurm: there is no sbatch on the PATH; submit where Slurm is")
    left = [j for j in progress.jobs if progress.state(j) not in (FINISHED, DIVERGED)]
    folder = progress.study.output / "slurm"
    told, before = [], ""
    for stage in (jobs.PRETRAIN, jobs.COOL, jobs.SWEEP, jobs.FINAL, REPORT):
        mine = [job for job in left if job.stage == stage]
        if not mine and stage != REPORT:
            continue
        script = folder / f"{stage}.sbatch"
        files.write_text(script, _script(progress, path, stage, mine))
        words = ["sbatch", "--parsable"]
        words += [f"--dependency=afterok:{before}", "--kill-on-invalid-dep=yes"] if before else []
        words += [f"--array={','.join(str(job.number) for job in mine)}"] if mine else []
        before = _sbatch([*words, str(script)])
        what = f"jobs {', '.join(str(job.number) for job in mine)}" if mine else "the reports"
        told.append(f"{stage}: Slurm job {before}, {what}")
    return [*told, f"scripts and logs: {folder}"]


def _script(progress: Progress, path: Path, stage: str, mine: Sequence[Job]) -> str:
    study = progress.study
    command = [sys.executable, "-m", "wsl_det", "run_study", str(path.resolve())]
    line = shlex.join(command) + (' --job "$SLURM_ARRAY_TASK_ID"' if mine else "")
    folder = study.output / "slurm"
    folder.mkdir(parents=True, exist_ok=True)  # Slurm writes its logs there
    return _SCRIPT.format(
        stage=stage,
        study=path,
        name=study.name,
        logs=folder.resolve(),
        options="".join(f"#SBATCH {option}\n" for option in study.slurm).rstrip("\n"),
        folder=shlex.quote(str(Path.cwd())),
        command=line,
    )


def _sbatch(words: Sequence[str]) -> str:
    done = subprocess.run(list(words), capture_output=True, text=True, errors="replace", check=False)
    number = done.stdout.strip().split(";")[0]  # NUMBER, or NUMBER;CLUSTER
    if done.returncode != 0 or not number.isdigit():
        said = (done.stderr or done.stdout).strip()[-500:] or "nothing"
        raise WslError(f"sbatch refused {words[-1]} (exit code {done.returncode}); it said: {said}")
    return number
