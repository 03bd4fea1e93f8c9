"""What a study will take: hours for each job, from the study file or from what has been measured."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsl_det.core import files, log
from wsl_det.core.config import Config
from wsl_det.errors import WslError
from wsl_det.study import jobs, process
from wsl_det.study.jobs import BEFORE, Job
from wsl_det.study.run import Progress

_FIRST = 3
"""Iterations left out of a measurement: the first ones also warm up caches and workers."""
STEPS = 5
_SHORT: dict[bool, dict[str, Any]] = {
    True: {"SOLVER.TOTAL_IMAGES": STEPS, "TEST.MAX_IMAGES": 1},
    False: {"SOLVER.MAX_ITER": STEPS, "SOLVER.STEPS": (), "DATASETS.TEST": ()},
}


def dry_run(progress: Progress, *, measure: bool = False) -> list[str]:
    """The jobs for a terminal: number, state, hours, title; the sum of what is left, and what is not there.

    ``measure`` takes five steps of every kind of job of which no time is known. Nothing else is trained.
    """
    every = progress.jobs
    states = {j.number: progress.state(j) for j in every}
    pace = _paces(progress, every, measure=measure)
    hours = {}
    for job in every:
        seconds = pace[_kind(progress, job)]
        steps = jobs.iterations(job, progress.config(job))
        hours[job.number] = None if seconds is None else seconds * steps / 3600
    rows = [f"{j.number:>4}  {states[j.number]:<8}  {_shown(hours[j.number]):>9}  {j.title}" for j in every]
    left = [hours[j.number] for j in every if states[j.number] in (jobs.WAITING, jobs.STARTED)]
    known = [h for h in left if h is not None]
    unknown = len(left) - len(known)
    total = f"{_shown(sum(known))} hours of training left in {len(known)} of {len(every)} jobs"
    if unknown:
        some = f"the hours of {unknown} of {len(every)} jobs are unknown"
        some += ": set seconds_per_iteration, --measure, or finish one job of each arm"
        total = f"{total}; {some}" if known else some
    output = progress.study.output
    last = f"{total}; evaluation not counted. Output: {output}"
    return [" job  state         hours  what", *rows, last, *progress.identities.missing]


def _kind(progress: Progress, job: Job) -> str:
    """What jobs that take equally long an iteration share: config and settings, but for the run's own."""
    own = (
        "SOLVER.STEPS",
        "SEED",
        "OUTPUT_DIR",
        "MODEL.WEIGHTS",
        "SOLVER.BASE_LR",
        "DATA.LABELS",
        "DATASETS",
        "SOLVER.MAX_ITER",
    )
    flat = {k: v for k, v in progress.config(job).flat().items() if not k.startswith(own)}
    before = job.stage in BEFORE
    told = json.dumps(["pretrain" if before else job.arm.seconds_per_iteration, flat], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _paces(progress: Progress, every: Sequence[Job], *, measure: bool) -> dict[str, float | None]:
    """Seconds an iteration by kind: what the file says, else the median over its jobs, else as measured."""
    kinds: dict[str, list[Job]] = {}
    for job in every:
        kinds.setdefault(_kind(progress, job), []).append(job)
    store = progress.study.output / "measured.json"
    measured: dict[str, Any] = files.read_json(store) if store.is_file() else {}
    found: dict[str, float | None] = {}
    for kind, mine in kinds.items():
        said = None if mine[0].stage in BEFORE else mine[0].arm.seconds_per_iteration
        times = [time for job in mine for time in _times(job.folder / "metrics.jsonl", _FIRST)]
        if said is None and not times and kind not in measured and measure:
            measured[kind] = _measured(progress, mine[0])
            files.write_json(store, measured)
        found[kind] = said or (statistics.median(times) if times else measured.get(kind))
    return found


def _measured(progress: Progress, job: Job) -> float | None:
    """Seconds an iteration of five steps of a job, in a folder that is gone afterwards; None if it fails."""
    folder = progress.study.output / "measure"
    cfg = progress.config(job)
    words = [*jobs.command(progress.study, job, cfg, resume=False), "OUTPUT_DIR", str(folder)]
    for key, value in (_SHORT[job.stage in BEFORE] | _weights(job, cfg)).items():
        images = cfg.SOLVER.IMS_PER_BATCH if key == "SOLVER.TOTAL_IMAGES" else 1
        words += [key, repr(value * images) if isinstance(value, int) else repr(value).strip("'")]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        process.train(words, f"five steps of {job.title}")
        times = _times(folder / "metrics.jsonl", 1)
        return statistics.median(times) if times else None
    except WslError as error:
        log.get("study").warning("%s", error)
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _weights(job: Job, cfg: Config) -> dict[str, str]:
    """Backbones that are not made yet take as long as random numbers."""
    known = job.stage in BEFORE or Path(str(cfg.MODEL.WEIGHTS)).is_file() or "://" in cfg.MODEL.WEIGHTS
    return {} if known else {"MODEL.WEIGHTS": ""}


def _times(path: Path, first: int) -> list[float]:
    """Seconds of the iterations in a metrics.jsonl but for the ``first``; none of a run hardly longer."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a killed run can be half a record
        if isinstance(record, dict) and isinstance(record.get("time"), int | float):
            found.append(float(record["time"]))
    return found[first:] if len(found) > 2 * first else []


def _shown(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.2f}"
