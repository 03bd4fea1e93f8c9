"""The study file: which arms, learning rates, seeds and data; checked whole before anything runs.

Paths are taken from the working directory, as on the command line. The keys:

    name: trunks                    # names the data sets in the configs
    output: runs/trunks             # everything the study writes
    data:
      train: {annotations: A.json, images: DIR}     # or a built-in name such as coco_2017_train
      test: coco_2017_val
      heldout: 0.1                  # share of the training images on which learning rates are chosen
    learning_rates: [0.005, 0.01, 0.02]             # SOLVER.BASE_LR; an arm may have its own, as many
    seeds: [1, 2, 3]                # final runs of each arm
    arms:
      imagenet: {config: configs/a.yaml, weights: weights/a.pth, trunk: X-101-32x8d, pretraining: IN-1k}
      random: {config: configs/b.yaml, weights: scratch, trunk: X-101-32x8d, pretraining: none}

Optional: engine (auto), num_gpus (1), overrides {KEY: VALUE} for all runs, sweep {seed, metric, overrides}
for the runs that choose a learning rate, pairs [[baseline, candidate], ...], seconds_per_iteration,
report {bootstrap, attribution_bootstrap, seed, gallery}, allow_mismatch; in an arm also overrides,
learning_rates and seconds_per_iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from wsl_det.errors import ConfigError
from wsl_det.study import fields
from wsl_det.study.fields import Count, Flag, Name, Positive, Text

Engine = Literal["auto", "detectron2", "embedded"]
Metric = Literal["bbox.AP", "bbox.AP50", "bbox.AP75", "segm.AP", "segm.AP50", "segm.AP75"]
Rates = Annotated[
    tuple[Positive, ...],
    Meta(min_length=1, description="a list of numbers above 0, such as [0.01, 0.02]"),
]
Overrides = Annotated[dict[str, Any], Meta(description="KEY: VALUE lines")]
SCRATCH = "scratch"
_FORM = "a study: name, output, data, learning_rates, seeds and arms"
Locate = Callable[[str, Mapping[str, tuple[str, str]]], tuple[Path, Path]]
"""Annotation file and image folder of a data set's name, built-in or among those registered."""

# What the study itself decides; an override of these would make the runs something else.
_OWNED = {
    "SOLVER.BASE_LR": "learning_rates",
    "SEED": "seeds",
    "OUTPUT_DIR": "output",
    "DATASETS.TRAIN": "data",
    "DATASETS.TEST": "data",
    "MODEL.WEIGHTS": "weights of an arm",
    "WSL_DET.LR_SWEEP_SIZE": "learning_rates",
}


class DataSet(msgspec.Struct, frozen=True):
    """Annotation file and image folder."""

    annotations: Path
    images: Path


class _Files(msgspec.Struct):
    annotations: Text
    images: Text


class _Data(msgspec.Struct):
    train: Any
    test: Any
    heldout: Annotated[float, Meta(gt=0, lt=1, description="a share of the images between 0 and 1")] = 0.1


class Arm(msgspec.Struct, frozen=True):
    """One backbone and how it is fine-tuned.

    weights: a file, "" for random initialisation, None for what the config says. trunk and
    pretraining place the arm in the table of capacities. seconds_per_iteration: None if unknown.
    """

    name: str
    config: Text
    weights: Text | None = None
    trunk: Text = "detector"
    pretraining: Text = ""
    learning_rates: Rates = ()
    overrides: Overrides = {}
    seconds_per_iteration: Positive | None = None


class Sweep(msgspec.Struct, frozen=True):
    """How the runs that choose a learning rate differ from the final ones."""

    seed: Count
    metric: Annotated[Metric, Meta(description=f"one of {', '.join(get_args(Metric))}")] = "bbox.AP"
    overrides: Overrides = {}


class Report(msgspec.Struct, frozen=True):
    """Options of the gain reports; gallery: whether they show photos."""

    bootstrap: Count = 1000
    attribution_bootstrap: Count = 200
    seed: Count = 0
    gallery: Flag = True


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    """What a study takes from its file as it stands there."""

    name: Name
    seeds: Annotated[
        tuple[Count, ...],
        Meta(min_length=1, description="a list of whole numbers, 0 or more, such as [1, 2, 3]"),
    ]
    engine: Annotated[Engine, Meta(description=f"one of {', '.join(get_args(Engine))}")] = "auto"
    num_gpus: Annotated[int, Meta(ge=1, le=4096, description="a whole number, 1 or more")] = 1
    overrides: Overrides = {}
    allow_mismatch: Flag = False


class _File(_Common, frozen=True, kw_only=True):
    output: Text
    data: Any
    arms: Annotated[dict[str, Any], Meta(description="NAME: VALUE lines")]
    learning_rates: Rates = ()
    seconds_per_iteration: Positive | None = None
    sweep: Any = {}
    report: Any = {}
    pairs: Any = None


class Study(_Common, frozen=True, kw_only=True):
    """A study file, checked; ``pairs`` are (baseline, candidate) names of arms."""

    output: Path
    train: DataSet
    test: DataSet
    heldout: float
    sweep: Sweep
    arms: tuple[Arm, ...]
    pairs: tuple[tuple[str, str], ...]
    report: Report

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def read(path: str | Path, locate: Locate) -> Study:
    """The study in a YAML file.

    Raises ConfigError naming file and key for everything that cannot be meant: unknown or missing
    keys, wrong types, names given twice, sweeps of different sizes, keys that the study owns, and
    for data files that do not exist. ``locate`` may raise for names it does not know.
    """
    where = str(path)
    top = fields.section(fields.read(path, "study file", _FORM), _File, where)
    data = fields.section(top.data, _Data, f"{where}: data")
    train, test = (
        _data_set(getattr(data, role), f"{where}: data: {role}", locate) for role in ("train", "test")
    )
    if len(set(top.seeds)) < len(top.seeds):
        raise fields.wrong(f"{where}: seeds", list(top.seeds), "every value once")
    arms = _arms(top, where)
    sweep = fields.section({"seed": top.seeds[0]} | dict(top.sweep), Sweep, f"{where}: sweep")
    _check_overrides(top.overrides, where)
    _check_overrides(sweep.overrides, f"{where}: sweep")
    return Study(
        name=top.name,
        output=Path(top.output),
        engine=top.engine,
        num_gpus=top.num_gpus,
        train=train,
        test=test,
        heldout=data.heldout,
        seeds=top.seeds,
        overrides=top.overrides,
        sweep=sweep,
        arms=arms,
        pairs=_pairs(top.pairs, arms, where),
        report=fields.section(top.report, Report, f"{where}: report"),
        allow_mismatch=top.allow_mismatch,
    )


def _data_set(given: Any, where: str, locate: Locate) -> DataSet:
    if isinstance(given, str):
        annotations, images = locate(given, {})
    else:
        files = fields.section(given, _Files, where)
        annotations, images = Path(files.annotations), Path(files.images)
    if not annotations.is_file():
        raise fields.wrong(where, str(annotations), "an annotation file that exists")
    if not images.is_dir():
        raise fields.wrong(where, str(images), "an image folder that exists")
    return DataSet(annotations, images)


def _check_overrides(overrides: Mapping[str, Any], where: str) -> None:
    for key, given in overrides.items():
        if key in _OWNED:
            raise fields.wrong(
                f"{where}: overrides.{key}", given, f"it to be left to the study ({_OWNED[key]})"
            )


def _arms(top: _File, where: str) -> tuple[Arm, ...]:
    if not top.arms:
        raise ConfigError(f"{where}: arms is empty; expected at least one entry")
    arms = tuple(_arm(name, given, top, f"{where}: arms: {name}") for name, given in top.arms.items())
    sizes = {arm.name: len(arm.learning_rates) for arm in arms}
    if len(set(sizes.values())) > 1:
        # BASE_LR may differ only after sweeps of the same size.
        raise fields.wrong(
            f"{where}: arms", sizes, "as many learning rates in every arm, so that the choice is fair"
        )
    places = [(arm.trunk, arm.pretraining) for arm in arms]
    if len(set(places)) < len(places):
        raise fields.wrong(
            f"{where}: arms", places, "every (trunk, pretraining) once; more runs of one are seeds"
        )
    return arms


def _arm(name: str, given: Any, top: _File, where: str) -> Arm:
    arm = fields.section(given, Arm, where, name=fields.value(name, Name, f"{where}: the name"))
    _check_overrides(arm.overrides, where)
    rates = arm.learning_rates or top.learning_rates
    if not rates:
        raise fields.wrong(f"{where}: learning_rates", None, "a list here or for the whole study")
    if len(set(rates)) < len(rates):
        raise fields.wrong(f"{where}: learning_rates", list(rates), "every value once")
    return msgspec.structs.replace(
        arm,
        weights="" if arm.weights == SCRATCH else arm.weights,
        pretraining=arm.pretraining or name,
        learning_rates=rates,
        seconds_per_iteration=arm.seconds_per_iteration or top.seconds_per_iteration,
    )


def _pairs(given: Any, arms: tuple[Arm, ...], where: str) -> tuple[tuple[str, str], ...]:
    """The pairs named, else the first arm of each trunk against the others of that trunk."""
    names = [arm.name for arm in arms]
    if given is not None:
        expected = f"[baseline, candidate] pairs of the arms {', '.join(names)}"
        kind = Annotated[tuple[tuple[Text, Text], ...], Meta(description=expected)]
        pairs: tuple[tuple[str, str], ...] = fields.value(given, kind, f"{where}: pairs")
        if any(a == b or not {a, b} <= set(names) for a, b in pairs):
            raise fields.wrong(f"{where}: pairs", given, expected)
        return pairs
    first: dict[str, str] = {}
    for arm in arms:
        first.setdefault(arm.trunk, arm.name)
    return tuple((first[arm.trunk], arm.name) for arm in arms if first[arm.trunk] != arm.name)
