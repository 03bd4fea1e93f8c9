"""Runs a study: backbones, sweeps, the choice of rates, final runs, reports; each step resumable."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsl_det.core import locks, log
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError
from wsl_det.study import contrasts, control, jobs, plan, process, report, split, sweep
from wsl_det.study.jobs import DIVERGED, FINAL, FINISHED, SWEEP, WAITING, Identity, Job
from wsl_det.study.plan import Locate, Study
from wsl_det.study.sweep import Choice


@dataclass
class Progress:
    """What is known about a study by now: its split, and the choice of every arm whose sweep is done.

    ``tree`` holds the detector's defaults, ``pretraining`` those of pretraining.
    """

    study: Study
    tree: Mapping[str, Any]
    pretraining: Mapping[str, Any] | None
    cut: split.Split
    identities: Identity
    choices: dict[str, Choice] = field(default_factory=dict)
    _bases: dict[tuple[str, bool], Config] = field(default_factory=dict)
    _configs: dict[tuple[Path, float | None], Config] = field(default_factory=dict)

    @property
    def jobs(self) -> list[Job]:
        """Every job, in the order of their numbers."""
        return jobs.every(self.study, {name: choice.chosen for name, choice in self.choices.items()})

    def config(self, job: Job) -> Config:
        """The resolved configuration of a job."""
        key = (job.folder, job.learning_rate)
        if key not in self._configs:
            self._configs[key] = jobs.resolve(self.study, job, self.tree, self.pretraining, self._bases)
        return self._configs[key]

    def identity(self, job: Job) -> dict[str, Any]:
        """See ``jobs.Identity``."""
        return self.identities.of(self.study, job, self.config(job))

    def waits_for(self, job: Job) -> list[Job]:
        """The jobs that must be done before this one and are not."""
        every = self.jobs
        wanted = jobs.needs(job, every)
        if job.stage == FINAL and job.learning_rate is None:
            wanted += [one for one in every if (one.stage, one.arm.name) == (SWEEP, job.arm.tuned_as)]
        return [one for one in wanted if self.state(one) not in (FINISHED, DIVERGED)]

    def state(self, job: Job) -> str:
        """See ``jobs.state``; a job waits while its backbone is not made or its learning rate not chosen."""
        unknown = job.stage == FINAL and job.learning_rate is None
        if unknown or (jobs.needs(job, self.jobs) and self.waits_for(job)):
            return WAITING
        return jobs.state(job, self.identity(job))


def run(
    path: str | Path,
    tree: Mapping[str, Any],
    locate: Locate,
    *,
    pretraining: Mapping[str, Any] | None = None,
    job: int | None = None,
) -> list[str]:
    """Do what is left of the study in ``path`` (or only job number ``job``); closing lines for a terminal.

    ``tree`` holds the detector's defaults and ``pretraining`` those of pretraining, ``locate`` knows built-in
    data sets. Raises what the parts raise, and ConfigError for a job that waits for others.
    """
    progress = begin(path, tree, locate, pretraining=pretraining)
    done = [each for each in progress.jobs if each.stage == FINAL and progress.state(each) == FINISHED]
    contrasts.remember(progress.study, len(done))
    if job is not None:
        return _one(progress, job)
    for number in range(len(progress.jobs)):
        each = progress.jobs[number]
        if each.stage == FINAL:
            _choose_all(progress)  # every sweep stands before the final runs
            each = progress.jobs[number]
        _do(progress, each)
    return report.write(progress.study, progress.jobs, progress.choices)


def begin(
    path: str | Path,
    tree: Mapping[str, Any],
    locate: Locate,
    *,
    pretraining: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> Progress:
    """Read and check a study, cut its split, and choose the learning rates whose sweeps are done.

    ``strict``: see ``jobs.Identity``.
    """
    study = plan.read(path, locate)
    cut = split.write(study.train.annotations, study.heldout, study.output / "split")
    progress = Progress(study, tree, pretraining, cut, Identity(strict=strict))
    tunings = {j.arm.name: progress.config(j) for j in progress.jobs if j.stage == FINAL}
    recipes = {j.arm.root: progress.config(j) for j in progress.jobs if j.stage == jobs.PRETRAIN}
    control.check(study, tunings, recipes)
    _choose_all(progress)
    return progress


def _one(progress: Progress, number: int) -> list[str]:
    every = progress.jobs
    if not 0 <= number < len(every):
        raise ConfigError(
            f"--job {number}: the jobs of this study are 0 to {len(every) - 1}; --dry-run lists them"
        )
    job = every[number]
    if waiting := progress.waits_for(job):
        numbers = ", ".join(str(one.number) for one in waiting)
        what = "the learning rate that" if waiting[0].stage == SWEEP else "the backbone that"
        does = "choose" if waiting[0].stage == SWEEP else "make"
        raise ConfigError(f"job {number} ({job.title}) needs {what} jobs {numbers} {does}; run those first")
    _do(progress, job)
    return [f"job {number} is {progress.state(job)}: {job.folder}"]


def _choose_all(progress: Progress) -> None:
    """Choose the learning rate of every arm whose sweep is done."""
    study = progress.study
    for arm in study.arms:
        mine = [j for j in progress.jobs if (j.stage, j.arm.name) == (SWEEP, arm.tuned_as)]
        if not mine:
            progress.choices[arm.name] = sweep.only(study, progress.cut, arm.learning_rates[0])
        elif arm.name not in progress.choices:
            states = [(j, progress.state(j)) for j in mine]
            if all(state in (FINISHED, DIVERGED) for _, state in states):
                progress.choices[arm.name] = sweep.choose(study, progress.cut, states)


def _do(progress: Progress, job: Job) -> None:
    """Bring one job to its end, whatever state it is in."""
    cfg, identity = progress.config(job), progress.identity(job)
    state = jobs.state(job, identity)
    logger = log.get("study")
    if state not in (FINISHED, DIVERGED):
        with _alone(job):
            logger.info(
                "job %d (%s): %s", job.number, job.title, "going on" if state != WAITING else "starting"
            )
            jobs.write_note(job, identity)
            why = ""
            if job.stage not in jobs.BEFORE or not (job.folder / "model_final.pth").is_file():
                words = jobs.command(progress.study, job, cfg, resume=state != WAITING)
                why = process.train(words, job.title)
            if not why and (export := jobs.export(job)):
                process.train(export, f"the export of {job.title}")
            if why and job.stage == SWEEP:
                # A rate that is too high is an answer of the sweep, not a failure of the study.
                logger.warning("%s diverged: %s", job.title, why)
                jobs.write_note(job, identity, DIVERGED, why)
            elif why:
                raise ConfigError(f"{job.title} diverged: {why}")
            state = jobs.state(job, identity)
        if state not in (FINISHED, DIVERGED):
            left = "no backbone.pth" if job.stage in jobs.BEFORE else "no predictions.json with its meta file"
            raise ConfigError(f"{job.title} ended, but {job.folder} has {left}")
    if job.stage == FINAL:
        sweep.record(job, progress.choices[job.arm.name])


def _alone(job: Job) -> AbstractContextManager[None]:
    """Keep two processes from training one job."""
    return locks.alone(job.folder / ".lock", job.title, "run other jobs with --job, or wait for it")
