"""The jobs of a study: which trainings, with which settings, in which folder, and how far each is."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsl_det import predictions
from wsl_det.core import config, files
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError, DataError
from wsl_det.study.arms import Arm, Pretrain
from wsl_det.study.plan import DataSet, Study

SCHEMA = 1
PRETRAIN, COOL, SWEEP, FINAL = "pretrain", "cool", "sweep", "final"
BEFORE = (PRETRAIN, COOL)
"""Stages that make backbones."""
FINISHED, DIVERGED, STARTED, WAITING = "finished", "diverged", "started", "to do"


@dataclass(frozen=True)
class Job:
    """One training: an arm at a learning rate and a seed; learning_rate is None until it is chosen.

    backbone: the seed of the pretraining that it starts from, None where the study makes no backbones.
    """

    number: int
    stage: str
    arm: Arm
    learning_rate: float | None
    seed: int
    folder: Path
    backbone: int | None = None

    @property
    def title(self) -> str:
        """Words for a list."""
        if self.stage in BEFORE:
            return (
                f"{self.stage} {self.arm.root if self.stage == PRETRAIN else self.arm.name}, seed {self.seed}"
            )
        rate = "the chosen rate" if self.learning_rate is None else f"{self.learning_rate:g}"
        of = "" if self.backbone is None else f" of pretraining seed {self.backbone}"
        return f"{self.stage} {self.arm.name}, learning rate {rate}, seed {self.seed}{of}"


def every(study: Study, chosen: Mapping[str, float]) -> list[Job]:
    """All jobs in the order in which they run; ``chosen`` holds the learning rates known so far."""
    jobs = (*_pretraining(study), *_sweeps(study), *_finals(study, chosen))
    return [replace(job, number=i) for i, job in enumerate(jobs)]


def _pretraining(study: Study) -> Iterator[Job]:
    made = [arm for arm in study.arms if arm.recipe is not None]
    stages = [(PRETRAIN, {arm.root: arm for arm in made})]
    stages.append((COOL, {arm.name: arm for arm in made if arm.at is not None}))
    for stage, arms in stages:
        for name, arm in arms.items():
            for seed in _recipe(arm).seeds:
                yield Job(0, stage, arm, None, seed, study.output / stage / name / f"seed_{seed}")


def _sweeps(study: Study) -> Iterator[Job]:
    for arm in study.arms:
        for rate in arm.learning_rates if len(arm.learning_rates) > 1 and arm.tuned_as == arm.name else ():
            folder = study.output / SWEEP / arm.name / f"lr_{rate!r}"
            first = None if arm.recipe is None else arm.recipe.seeds[0]
            yield Job(0, SWEEP, arm, rate, study.sweep.seed, folder, first)


def _finals(study: Study, chosen: Mapping[str, float]) -> Iterator[Job]:
    for arm in study.arms:
        rate = chosen.get(arm.tuned_as, arm.learning_rates[0] if len(arm.learning_rates) == 1 else None)
        for before in [None] if arm.recipe is None else arm.recipe.seeds:
            folder = study.output / FINAL / arm.name / ("" if before is None else f"pretraining_{before}")
            for seed in arm.seeds:
                yield Job(0, FINAL, arm, rate, seed, folder / f"seed_{seed}", before)


def needs(job: Job, jobs: list[Job]) -> list[Job]:
    """The jobs that must be done before this one, besides the sweep that chooses its learning rate."""
    if job.stage == COOL:
        return [
            one for one in jobs if (one.stage, one.arm.root, one.seed) == (PRETRAIN, job.arm.root, job.seed)
        ]
    if job.stage == PRETRAIN or job.backbone is None:
        return []
    name = job.arm.root if job.arm.at is None else job.arm.name
    stage = PRETRAIN if job.arm.at is None else COOL
    wanted = (stage, name, job.backbone)
    return [one for one in jobs if (one.stage, one.folder.parent.name, one.seed) == wanted]


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
    """The keys that the study lays over a config for this job; see ``cooled`` for those of a branch."""
    if job.stage in BEFORE:
        recipe = _recipe(job.arm)
        found: dict[str, Any] = {**recipe.overrides, "DATA.SHARDS": recipe.shards}
        if recipe.at:
            found |= {"SOLVER.SCHEDULE": "constant", "SOLVER.KEEP_AT": [x for x in recipe.at if x < 1]}
        return found | {"DATA.LABELS": recipe.labels, "SEED": job.seed, "OUTPUT_DIR": str(job.folder)}
    (train, _), (test, _) = data_of(study, job)
    found = {**study.overrides, **job.arm.overrides}
    if job.stage == SWEEP:
        found |= study.sweep.overrides
    if job.backbone is not None:
        found["MODEL.WEIGHTS"] = str(backbone_of(study, job))
    elif job.arm.weights is not None:
        found["MODEL.WEIGHTS"] = job.arm.weights
    if job.learning_rate is not None:
        found["SOLVER.BASE_LR"] = job.learning_rate
    return found | {
        "SEED": job.seed,
        "DATASETS.TRAIN": (train,),
        "DATASETS.TEST": (test,),
        "OUTPUT_DIR": str(job.folder),
    }


def cooled(study: Study, job: Job, cfg: Config) -> dict[str, Any]:
    """The keys that make a job of stage COOL the branch of its run: from which checkpoint, over how much."""
    last = updates(cfg, job.arm.at) - 1
    parent = study.output / PRETRAIN / job.arm.root / f"seed_{job.seed}"
    return {
        "SOLVER.COOL_FROM": str(parent / f"model_{last:07d}.pth"),
        "SOLVER.COOL_SHARE": _recipe(job.arm).cool,
    }


def updates(cfg: Config, share: float | None = None) -> int:
    """The updates after which a pretraining run has seen a share of its images, all of them by default."""
    return math.ceil((share or 1) * cfg.SOLVER.TOTAL_IMAGES / cfg.SOLVER.IMS_PER_BATCH - 1e-9)


def iterations(job: Job, cfg: Config) -> int:
    """The steps of a job."""
    if job.stage not in BEFORE:
        return int(cfg.SOLVER.MAX_ITER)
    seen = updates(cfg, job.arm.at if job.stage == COOL else None)
    return seen if job.stage == PRETRAIN else max(1, math.ceil(_recipe(job.arm).cool * seen - 1e-9))


def backbone_of(study: Study, job: Job) -> Path:
    """The backbone that a job of stage SWEEP or FINAL starts from, where the study makes it."""
    arm = job.arm
    folder = (PRETRAIN, arm.root) if arm.at is None else (COOL, arm.name)
    return study.output.joinpath(*folder, f"seed_{job.backbone}", "backbone.pth")


def resolve(
    study: Study,
    job: Job,
    tree: Mapping[str, Any],
    pretraining: Mapping[str, Any] | None = None,
    bases: dict[tuple[str, bool], Config] | None = None,
) -> Config:
    """The full configuration of a job over the detector's defaults ``tree``, or those of ``pretraining``.

    ``bases`` keeps what the config files of arms hold, so that each is read once.
    """
    before, bases = job.stage in BEFORE, {} if bases is None else bases
    name, defaults = (_recipe(job.arm).config, pretraining or {}) if before else (job.arm.config, tree)
    words = [word for pair in settings(study, job).items() for word in pair]
    try:
        if (name, before) not in bases:
            bases[name, before] = config.load(config.config_path(name), defaults)
        return config.merge(bases[name, before], {}, words)
    except ConfigError as error:
        raise ConfigError(f"arm {job.arm.name}: {'pretrain: ' if before else ''}{error}") from None


def command(study: Study, job: Job, cfg: Config, *, resume: bool) -> list[str]:
    """The command line that trains and scores a job."""
    before = job.stage in BEFORE
    name = _recipe(job.arm).config if before else job.arm.config
    num_gpus = _recipe(job.arm).num_gpus if before else study.num_gpus
    words = _tool("pretrain_net" if before else "train_net", "--config-file", str(config.config_path(name)))
    words += ["--num-gpus", str(num_gpus)] if num_gpus > 1 else []
    words += ["--resume"] if resume else []
    if not before:
        words += ["--engine", study.engine]
        for registered, data in data_of(study, job):
            words += ["--register", registered, str(data.annotations), str(data.images)]
    laid = settings(study, job) | (cooled(study, job, cfg) if job.stage == COOL else {})
    for key, value in laid.items():
        words += [key, value if isinstance(value, str) else repr(value)]
    return words


def export(job: Job) -> list[str] | None:
    """The command line that makes a backbone of a finished pretraining; None where none is wanted or left."""
    made = job.folder / "backbone.pth"
    if not _exported(job) or (made.is_file() and made.with_suffix(".json").is_file()):
        return None
    return _tool("export_backbone", str(job.folder), str(made))


def _exported(job: Job) -> bool:
    """Whether a job makes a backbone: a run at constant rate only makes what its branches start from."""
    return job.stage == COOL or (job.stage == PRETRAIN and job.arm.at is None)


def _tool(*words: str) -> list[str]:
    return [sys.executable, "-m", "wsl_det", *words]


def _recipe(arm: Arm) -> Pretrain:
    assert arm.recipe is not None
    return arm.recipe


class Identity:
    """What makes a job that job: its resolved settings and the hashes of the files that it reads.

    Weights and shards that do not exist are a ConfigError, or are told in ``missing`` when not ``strict``.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.missing: list[str] = []
        self._hashes: dict[Path, str] = {}

    def of(self, study: Study, job: Job, cfg: Config) -> dict[str, Any]:
        """Settings and hashes; equal for equal jobs, wherever the study lies."""
        paths = ("OUTPUT_DIR", "MODEL.WEIGHTS", "DATA.SHARDS")
        flat = {k: v for k, v in cfg.flat().items() if k not in paths}
        if job.stage in BEFORE:
            recipe = _recipe(job.arm)
            read = {"shards": self._there(job.arm.root, "shards", Path(recipe.shards) / "dataset.json",
                                          "make them first with wsl-det build_shards")}  # fmt: skip
            return {**flat, **read} | ({"at": job.arm.at, "cool": recipe.cool} if job.stage == COOL else {})
        (_, train), (_, test) = data_of(study, job)
        # A split is named by what it was cut from: its own header has a command line in it.
        source = study.train.annotations
        read = {
            "training annotations": self._hash(train.annotations if job.stage == FINAL else source),
            "test annotations": self._hash(test.annotations if job.stage == FINAL else source),
            "weights": self._weights(job.arm, str(cfg.MODEL.WEIGHTS)),
        }
        share = {"held-out share": study.heldout} if job.stage == SWEEP else {}
        return {**flat, **read, **share, "engine": study.engine}

    def _weights(self, arm: Arm, weights: str) -> str:
        if not weights or weights.startswith(("zoo://", "timm:", "hf-hub:")):
            # A zoo name stands for one file by its hash: the name is the identity.
            return weights or "random initialisation"
        return self._there(arm.name, "weights", Path(weights),
                           "make or download them first (the head of its config says how), or write weights: "
                           "scratch")  # fmt: skip

    def _there(self, arm: str, what: str, path: Path, advice: str) -> str:
        if path.is_file():
            return self._hash(path)
        if self.strict:
            raise ConfigError(f"arm {arm}: its {what} {path} do not exist; {advice}")
        told = f"arm {arm}: its {what} {path} do not exist yet"
        self.missing += [told] if told not in self.missing else []
        return "not there yet"

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = files.sha256(path)
        return self._hashes[path]


def note_path(job: Job) -> Path:
    """Where a job says what it is: ``job.json`` in its folder."""
    return job.folder / "job.json"


def state(job: Job, identity: Mapping[str, Any]) -> str:
    """How far a job is, from its folder alone.

    Finished means: final weights are there, and the backbone made of them, or predictions and their header.
    Raises ConfigError for a folder in which another job lies, naming the settings that differ.
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
    whole = [job.folder / "model_final.pth"]
    if job.stage not in BEFORE:
        whole += [predictions_of(job), predictions.meta_path(predictions_of(job))]
    return FINISHED if all(path.is_file() for path in whole) and export(job) is None else STARTED


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
