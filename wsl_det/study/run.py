"""Runs a study: the sweep, the choice of learning rates, the final runs, the reports; each step resumable."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsl_det.core import locks, log
from wsl_det.errors import ConfigError
from wsl_det.study import estimate, jobs, plan, process, report, split, sweep
from wsl_det.study.jobs import DIVERGED, FINISHED, WAITING, Identity, Job
from wsl_det.study.plan import Locate, Study
from wsl_det.study.sweep import Choice


@dataclass
class Progress:
    """What is known about a study by now: its split, and the choice of every arm whose sweep is done."""

    study: Study
    tree: Mapping[str, Any]
    cut: split.Split
    identities: Identity
    choices: dict[str, Choice] = field(default_factory=dict)

    @property
    def jobs(self) -> list[Job]:
        """Every job, in the order of their numbers."""
        rates = {name: choice.chosen for name, choice in self.choices.items()}
        return [*jobs.sweep_jobs(self.study), *jobs.final_jobs(self.study, rates)]

    def identity(self, job: Job) -> dict[str, Any]:
        """See ``jobs.Identity``."""
        return self.identities.of(self.study, job, jobs.resolve(self.study, job, self.tree))

    def state(self, job: Job) -> str:
        """See ``jobs.state``; a final job waits while its learning rate is not chosen."""
        return WAITING if job.learning_rate is None else jobs.state(job, self.identity(job))


def run(path: str | Path, tree: Mapping[str, Any], locate: Locate, *, job: int | None = None) -> list[str]:
    """Do what is left of the study in ``path`` (or only job number ``job``); closing lines for a terminal.

    ``tree`` holds the detector's defaults, ``locate`` knows its built-in data sets. Raises what the
    parts raise, and ConfigError for a job that waits for others.
    """
    progress = begin(path, tree, locate)
    if job is not None:
        return _one(progress, job)
    for arm in progress.study.arms:
        mine = [j for j in jobs.sweep_jobs(progress.study) if j.arm == arm]
        for each in mine:
            _do(progress, each)
        _choose(progress, arm.name)
    for each in progress.jobs:
        if each.stage == jobs.FINAL:
            _do(progress, each)
    return report.write(progress.study, progress.jobs, progress.choices)


def dry_run(path: str | Path, tree: Mapping[str, Any], locate: Locate) -> list[str]:
    """The list of jobs with their states and hours; trains nothing, writes only the split."""
    progress = begin(path, tree, locate, strict=False)
    every = progress.jobs
    states = {j.number: progress.state(j) for j in every}
    iterations = {j.number: jobs.resolve(progress.study, j, tree).SOLVER.MAX_ITER for j in every}
    missing = progress.identities.missing
    listed = estimate.lines(every, states, iterations, progress.study.output)
    return [*listed, *(f"arm {arm}: its weights {name} do not exist yet" for arm, name in missing.items())]


def begin(path: str | Path, tree: Mapping[str, Any], locate: Locate, *, strict: bool = True) -> Progress:
    """Read and check a study, cut its split, and choose the learning rates whose sweeps are done.

    ``strict``: see ``jobs.Identity``.
    """
    study = plan.read(path, locate)
    cut = split.write(study.train.annotations, study.heldout, study.output / "split")
    progress = Progress(study, tree, cut, Identity(strict=strict))
    report.check_alike(study, {j.arm.name: jobs.resolve(study, j, tree) for j in progress.jobs})
    for arm in study.arms:
        mine = [j for j in jobs.sweep_jobs(study) if j.arm == arm]
        if all(progress.state(j) in (FINISHED, DIVERGED) for j in mine):
            _choose(progress, arm.name)
    return progress


def _one(progress: Progress, number: int) -> list[str]:
    every = progress.jobs
    if not 0 <= number < len(every):
        raise ConfigError(
            f"--job {number}: the jobs of this study are 0 to {len(every) - 1}; --dry-run lists them"
        )
    job = every[number]
    if job.learning_rate is None:
        waiting = [str(j.number) for j in every if j.stage == jobs.SWEEP and j.arm == job.arm]
        raise ConfigError(
            f"job {number} ({job.title}) needs the learning rate that jobs {', '.join(waiting)} choose; "
            "run those first"
        )
    _do(progress, job)
    return [f"job {number} is {progress.state(job)}: {job.folder}"]


def _choose(progress: Progress, arm: str) -> None:
    mine = [j for j in jobs.sweep_jobs(progress.study) if j.arm.name == arm]
    if mine:
        choice = sweep.choose(progress.study, progress.cut, [(j, progress.state(j)) for j in mine])
    else:
        choice = sweep.only(progress.study, progress.cut, progress.study.arm(arm).learning_rates[0])
    progress.choices[arm] = choice


def _do(progress: Progress, job: Job) -> None:
    """Bring one job to its end, whatever state it is in."""
    identity = progress.identity(job)
    state = jobs.state(job, identity)
    logger = log.get("study")
    if state not in (FINISHED, DIVERGED):
        with _alone(job):
            logger.info(
                "job %d (%s): %s", job.number, job.title, "going on" if state != WAITING else "starting"
            )
            jobs.write_note(job, identity)
            resume = state != WAITING
            why = process.train(jobs.command(progress.study, job, resume=resume), job.title)
            if why and job.stage == jobs.SWEEP:
                # A rate that is too high is an answer of the sweep, not a failure of the study.
                logger.warning("%s diverged: %s", job.title, why)
                jobs.write_note(job, identity, DIVERGED, why)
            elif why:
                raise ConfigError(f"{job.title} diverged: {why}")
            state = jobs.state(job, identity)
        if state not in (FINISHED, DIVERGED):
            raise ConfigError(
                f"{job.title} ended, but {job.folder} has no predictions.json with its meta file"
            )
    if job.stage == jobs.FINAL:
        sweep.record(job, progress.choices[job.arm.name])


def _alone(job: Job) -> AbstractContextManager[None]:
    """Keep two processes from training one job."""
    return locks.alone(job.folder / ".lock", job.title, "run other jobs with --job, or wait for it")
