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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsl_det.errors import ConfigError
from wsl_det.study.fields import Fields

ENGINES = ("auto", "detectron2", "embedded")
METRICS = ("bbox.AP", "bbox.AP50", "bbox.AP75", "segm.AP", "segm.AP50", "segm.AP75")
SCRATCH = "scratch"
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


@dataclass(frozen=True)
class DataSet:
    """Annotation file and image folder."""

    annotations: Path
    images: Path


@dataclass(frozen=True)
class Arm:
    """One backbone and how it is fine-tuned.

    weights: a file, "" for random initialisation, None for what the config says. trunk and
    pretraining place the arm in the table of capacities. seconds_per_iteration: None if unknown.
    """

    name: str
    config: str
    weights: str | None
    trunk: str
    pretraining: str
    learning_rates: tuple[float, ...]
    overrides: Mapping[str, Any]
    seconds_per_iteration: float | None


@dataclass(frozen=True)
class Sweep:
    """How the runs that choose a learning rate differ from the final ones."""

    seed: int
    metric: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Options of the gain reports; gallery: whether they show photos."""

    bootstrap: int
    attribution_bootstrap: int
    seed: int
    gallery: bool


@dataclass(frozen=True)
class Study:
    """A study file, checked; ``pairs`` are (baseline, candidate) names of arms."""

    name: str
    output: Path
    engine: str
    num_gpus: int
    train: DataSet
    test: DataSet
    heldout: float
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any]
    sweep: Sweep
    arms: tuple[Arm, ...]
    pairs: tuple[tuple[str, str], ...]
    report: Report
    allow_mismatch: bool

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def read(path: str | Path, locate: Locate) -> Study:
    """The study in a YAML file.

    Raises ConfigError naming file and key for everything that cannot be meant: unknown or missing
    keys, wrong types, names given twice, sweeps of different sizes, keys that the study owns, and
    for data files that do not exist. ``locate`` may raise for names it does not know.
    """
    path = Path(path)
    top = Fields(_load(path), str(path))
    name, output = top.name("name"), top.text("output")
    data = top.section("data")
    train, test = (_data_set(data, role, locate) for role in ("train", "test"))
    heldout = data.number("heldout", 0.1)
    if not 0 < heldout < 1:
        raise data.wrong("heldout", heldout, "a share of the images between 0 and 1")
    data.done()
    seeds = top.distinct("seeds", top.integers("seeds"))
    arms = _arms(top)
    study = Study(
        name=name,
        output=Path(output),
        engine=top.choice("engine", ENGINES, "auto"),
        num_gpus=top.integer("num_gpus", 1, least=1),
        train=train,
        test=test,
        heldout=heldout,
        seeds=seeds,
        overrides=_overrides(top),
        sweep=_sweep(top.section("sweep", {}), seeds[0]),
        arms=arms,
        pairs=_pairs(top, arms),
        report=_report(top.section("report", {})),
        allow_mismatch=top.boolean("allow_mismatch", False),
    )
    top.done()
    return study


def _load(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"study file {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} holds {'nothing' if tree is None else f'a {type(tree).__name__}'}; expected a study: "
            "name, output, data, learning_rates, seeds and arms"
        )
    return tree


def _data_set(data: Fields, role: str, locate: Locate) -> DataSet:
    value = data.any(role)
    if isinstance(value, str):
        annotations, images = locate(value, {})
    else:
        files = data.section(role)
        annotations, images = Path(files.text("annotations")), Path(files.text("images"))
        files.done()
    if not annotations.is_file():
        raise data.wrong(role, str(annotations), "an annotation file that exists")
    if not images.is_dir():
        raise data.wrong(role, str(images), "an image folder that exists")
    return DataSet(annotations, images)


def _overrides(fields: Fields) -> dict[str, Any]:
    found = {}
    for key, value in fields.mapping("overrides", {}).items():
        if key in _OWNED:
            raise fields.wrong(f"overrides.{key}", value, f"it to be left to the study ({_OWNED[key]})")
        found[key] = value
    return found


def _sweep(fields: Fields, seed: int) -> Sweep:
    sweep = Sweep(
        fields.integer("seed", seed), fields.choice("metric", METRICS, METRICS[0]), _overrides(fields)
    )
    fields.done()
    return sweep


def _report(fields: Fields) -> Report:
    report = Report(
        bootstrap=fields.integer("bootstrap", 1000, least=0),
        attribution_bootstrap=fields.integer("attribution_bootstrap", 200, least=0),
        seed=fields.integer("seed", 0, least=0),
        gallery=fields.boolean("gallery", True),
    )
    fields.done()
    return report


def _arms(top: Fields) -> tuple[Arm, ...]:
    tree = top.section("arms")
    rates = top.rates("learning_rates", None)
    seconds = top.number("seconds_per_iteration", None)
    arms = tuple(_arm(name, tree.section(name), rates, seconds) for name in tree.names())
    sizes = {arm.name: len(arm.learning_rates) for arm in arms}
    if len(set(sizes.values())) > 1:
        # design.md section 1: BASE_LR may differ only after sweeps of the same size.
        raise top.wrong("arms", sizes, "as many learning rates in every arm, so that the choice is fair")
    places = [(arm.trunk, arm.pretraining) for arm in arms]
    if len(set(places)) < len(places):
        raise top.wrong("arms", places, "every (trunk, pretraining) once; more runs of one are seeds")
    return arms


def _arm(name: str, fields: Fields, rates: tuple[float, ...] | None, seconds: float | None) -> Arm:
    weights = fields.text("weights", None)
    arm = Arm(
        name=Fields.checked_name(name, fields.where),
        config=fields.text("config"),
        weights="" if weights == SCRATCH else weights,
        trunk=fields.text("trunk", "detector"),
        pretraining=fields.text("pretraining", name),
        learning_rates=fields.rates("learning_rates", rates) or (),
        overrides=_overrides(fields),
        seconds_per_iteration=fields.number("seconds_per_iteration", seconds),
    )
    if not arm.learning_rates:
        raise fields.wrong("learning_rates", None, "a list here or for the whole study")
    fields.done()
    return arm


def _pairs(top: Fields, arms: tuple[Arm, ...]) -> tuple[tuple[str, str], ...]:
    """The pairs named, else the first arm of each trunk against the others of that trunk."""
    names = [arm.name for arm in arms]
    given = top.any("pairs", None)
    if given is not None:
        legal = isinstance(given, list) and all(
            isinstance(p, list) and len(p) == 2 and p[0] != p[1] and set(map(str, p)) <= set(names)
            for p in given
        )
        if not legal:
            raise top.wrong("pairs", given, f"[baseline, candidate] pairs of the arms {', '.join(names)}")
        return tuple((str(a), str(b)) for a, b in given)
    first: dict[str, str] = {}
    for arm in arms:
        first.setdefault(arm.trunk, arm.name)
    return tuple((first[arm.trunk], arm.name) for arm in arms if first[arm.trunk] != arm.name)
