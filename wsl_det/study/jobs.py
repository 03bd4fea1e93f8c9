"""The jobs of a study: which trainings, with which settings, in which folder, and how far each is."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl_det import predictions
from wsl_det.core import config, files
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError, DataError
from wsl_det.study.plan import Arm, DataSet, Study

SCHEMA = 1
SWEEP, FINAL = "sweep", "final"
FINISHED, DIVERGED, STARTED, WAITING = "finished", "diverged", "started", "to do"


@dataclass(frozen=True)
class Job:
    """One training: an arm at a learning rate and a seed; learning_rate is None until it is chosen."""

    number: int
    stage: str
    arm: Arm
    learning_rate: float | None
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """Words for a list."""
        rate = "the chosen rate" if self.learning_rate is None else f"{self.learning_rate:g}"
        return f"{self.stage} {self.arm.name}, learning rate {rate}, seed {self.seed}"


def sweep_jobs(study: Study) -> list[Job]:
    """The trainings that choose learning rates; none for an arm that has only one."""
    jobs: list[Job] = []
    for arm in study.arms:
        for rate in arm.learning_rates if len(arm.learning_rates) > 1 else ():
            folder = study.output / SWEEP / arm.name / f"lr_{rate!r}"
            jobs.append(Job(len(jobs), SWEEP, arm, rate, study.sweep.seed, folder))
    return jobs


def final_jobs(study: Study, chosen: Mapping[str, float]) -> list[Job]:
    """The trainings that count, numbered after the sweep; ``chosen`` holds the rates known so far."""
    first = len(sweep_jobs(study))
    single = {arm.name: arm.learning_rates[0] for arm in study.arms if len(arm.learning_rates) == 1}
    chosen = {**single, **chosen}
    pairs = [(arm, seed) for arm in study.arms for seed in study.seeds]
    return [
        Job(
            first + i,
            FINAL,
            arm,
            chosen.get(arm.name),
            seed,
            study.output / FINAL / arm.name / f"seed_{seed}",
        )
        for i, (arm, seed) in enumerate(pairs)
    ]


def data_of(study: Study, job: Job) -> tuple[tuple[str, DataSet], tuple[str, DataSet]]:
    """Name and files of the data a job trains on and of those it is scored on.

    A job of the sweep never sees the test set; the files of its split are made by ``split.write``.
    """
    if job.stage == FINAL:
        return (f"{study.name}_train", study.train), (f"{study.name}_test", study.test)
    images, folder = study.train.images, study.output / "split"
    return (
        (f"{study.name}_fit", DataSet(folder / "fit.json", images)),
        (f"{study.name}_heldout", DataSet(folder / "heldout.json", images)),
    )


def settings(study: Study, job: Job) -> dict[str, Any]:
    """The keys that the study lays over an arm's config for this job."""
    (train, _), (test, _) = data_of(study, job)
    found: dict[str, Any] = {**study.overrides, **job.arm.overrides}
    if job.stage == SWEEP:
        found |= study.sweep.overrides
    if job.arm.weights is not None:
        found["MODEL.WEIGHTS"] = job.arm.weights
    if job.learning_rate is not None:
        found["SOLVER.BASE_LR"] = job.learning_rate
    return found | {
        "SEED": job.seed,
        "DATASETS.TRAIN": (train,),
        "DATASETS.TEST": (test,),
        "OUTPUT_DIR": str(job.folder),
    }


def resolve(study: Study, job: Job, tree: Mapping[str, Any]) -> Config:
    """The full configuration of a job over the detector's defaults ``tree``."""
    words = [word for pair in settings(study, job).items() for word in pair]
    try:
        return config.load(config.config_path(job.arm.config), tree, words)
    except ConfigError as error:
        raise ConfigError(f"arm {job.arm.name}: {error}") from None


def command(study: Study, job: Job, *, resume: bool) -> list[str]:
    """The command line that trains and scores a job."""
    words = [
        sys.executable,
        "-m",
        "wsl_det",
        "train_net",
        "--config-file",
        str(config.config_path(job.arm.config)),
    ]
    words += ["--engine", study.engine]
    words += ["--num-gpus", str(study.num_gpus)] if study.num_gpus > 1 else []
    words += ["--resume"] if resume else []
    for name, data in data_of(study, job):
        words += ["--register", name, str(data.annotations), str(data.images)]
    for key, value in settings(study, job).items():
        words += [key, value if isinstance(value, str) else repr(value)]
    return words


class Identity:
    """What makes a job that job: its resolved settings and the hashes of the files that it reads.

    Weights that do not exist are a ConfigError, or are collected in ``missing`` when not ``strict``.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.missing: dict[str, str] = {}
        self._hashes: dict[Path, str] = {}

    def of(self, study: Study, job: Job, cfg: Config) -> dict[str, Any]:
        """Settings and hashes; equal for equal jobs, wherever the study lies."""
        flat = {k: v for k, v in cfg.flat().items() if k not in ("OUTPUT_DIR", "MODEL.WEIGHTS")}
        (_, train), (_, test) = data_of(study, job)
        # A split is named by what it was cut from: its own header has a command line in it.
        source = study.train.annotations
        read: dict[str, Any] = {
            "training annotations": self._hash(train.annotations if job.stage == FINAL else source),
            "test annotations": self._hash(test.annotations if job.stage == FINAL else source),
            "weights": self._weights(job.arm, str(cfg.MODEL.WEIGHTS)),
        }
        read |= {"held-out share": study.heldout} if job.stage == SWEEP else {}
        return {**flat, **read, "engine": study.engine}

    def _weights(self, arm: Arm, weights: str) -> str:
        if not weights or weights.startswith("zoo://"):
            # A zoo name stands for one file by its hash: the name is the identity.
            return weights or "random initialisation"
        if not Path(weights).is_file() and not self.strict:
            self.missing[arm.name] = weights
            return "not there yet"
        if not Path(weights).is_file():
            raise ConfigError(
                f"arm {arm.name}: its weights {weights} do not exist; make or download them first "
                "(the head of its config says how), or write weights: scratch"
            )
        return self._hash(Path(weights))

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = files.sha256(path)
        return self._hashes[path]


def note_path(job: Job) -> Path:
    """Where a job says what it is: ``job.json`` in its folder."""
    return job.folder / "job.json"


def state(job: Job, identity: Mapping[str, Any]) -> str:
    """How far a job is, from its folder alone.

    Finished means: final weights, predictions and their header are there. Raises ConfigError for a
    folder in which another job lies, naming the settings that differ.
    """
    note = note_path(job)
    if not note.exists():
        if (job.folder / "model_final.pth").exists():
            raise ConfigError(f"{job.folder} holds a run that this study did not start; change output")
        return WAITING
    told = files.read_json(note, "job file")
    _check_same(job, told.get("identity") if isinstance(told, dict) else None, identity)
    if told.get("outcome") == DIVERGED:
        return DIVERGED
    found = predictions_of(job)
    whole = (job.folder / "model_final.pth", found, predictions.meta_path(found))
    return FINISHED if all(path.is_file() for path in whole) else STARTED


def predictions_of(job: Job) -> Path:
    """The predictions of a finished job."""
    return job.folder / "predictions.json"


def write_note(job: Job, identity: Mapping[str, Any], outcome: str | None = None, why: str = "") -> None:
    """Write ``job.json``: the identity, and how it ended when that cannot be seen from the folder."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    note = {"schema": SCHEMA, "job": job.title, "sha256": digest, "identity": dict(identity)}
    files.write_json(note_path(job), note | ({"outcome": outcome, "why": why} if outcome else {}))


def _check_same(job: Job, then: Any, now: Mapping[str, Any]) -> None:
    if not isinstance(then, dict):
        raise DataError(f"{note_path(job)} is not the file of a job; remove {job.folder} to train it again")
    # JSON has no tuples: both sides are compared as JSON holds them.
    now = json.loads(json.dumps(now))
    changed = [k for k in sorted({*then, *now}) if then.get(k) != now.get(k)]
    if changed:
        lines = [f"\n  {k}: {then.get(k)!r:.80} then, {now.get(k)!r:.80} now" for k in changed]
        raise ConfigError(
            f"{job.folder} holds a job with other settings; give the study another output, or remove the "
            f"folder to train it again:{''.join(lines[:10])}"
        )
