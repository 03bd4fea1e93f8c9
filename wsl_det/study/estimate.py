"""What a study will take: hours for each job, from the study file or from what has been measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsl_det.study import jobs
from wsl_det.study.jobs import Job

_FIRST = 3
"""Iterations left out of a measurement: the first ones also warm up caches and workers."""


def seconds_per_iteration(arm_jobs: Sequence[Job]) -> float | None:
    """What the study file says for the arm, else the median over its jobs' metrics.jsonl, else None."""
    said = arm_jobs[0].arm.seconds_per_iteration
    if said is not None:
        return said
    measured = [time for job in arm_jobs for time in _times(job.folder / "metrics.jsonl")]
    return statistics.median(measured) if measured else None


def _times(path: Path) -> list[float]:
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
    return found[_FIRST:] if len(found) > 2 * _FIRST else []


def lines(
    every: Sequence[Job], states: Mapping[int, str], iterations: Mapping[int, int], output: Path
) -> list[str]:
    """The list of jobs for a terminal: number, state, hours, title; then the sum of what is left."""
    pace = {
        name: seconds_per_iteration([j for j in every if j.arm.name == name])
        for name in {j.arm.name for j in every}
    }
    hours = {j.number: _hours(pace[j.arm.name], iterations[j.number]) for j in every}
    rows = [f"{j.number:>4}  {states[j.number]:<8}  {_shown(hours[j.number]):>9}  {j.title}" for j in every]
    left = [hours[j.number] for j in every if states[j.number] in (jobs.WAITING, jobs.STARTED)]
    known = [h for h in left if h is not None]
    unknown = len(left) - len(known)
    total = f"{_shown(sum(known))} hours of training left in {len(known)} of {len(every)} jobs"
    if unknown:
        some = f"the hours of {unknown} of {len(every)} jobs are unknown"
        some += ": set seconds_per_iteration, or finish one job of each arm"
        total = f"{total}; {some}" if known else some
    return [" job  state         hours  what", *rows, f"{total}; evaluation not counted. Output: {output}"]


def _hours(pace: float | None, iterations: int) -> float | None:
    return None if pace is None else pace * iterations / 3600


def _shown(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.2f}"
