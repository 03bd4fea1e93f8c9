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

An arm may begin at shards instead of at weights: its backbones are then pretrained, one for each seed.

    pretrain:                       # what all such arms share
      config: configs/quick/pretrain_demo.yaml
      shards: demo/shards
      seeds: [1, 2, 3]
      at: [0.1, 0.3, 1]             # shares of the run's images at which a cooled branch is an arm, NAME@0.1
    arms:
      hashtags: {config: configs/a.yaml, pretrain: {labels: hashtags}}
      shuffled: {config: configs/a.yaml, pretrain: {labels: shuffled}}
    contrasts: [hashtags - shuffled]        # what gets a verdict: candidate - baseline, named beforehand

Optional: engine (auto), num_gpus (1), overrides {KEY: VALUE} for all runs, sweep {seed, metric, overrides}
for the runs that choose a learning rate, pairs [[baseline, candidate], ...] for reports without a verdict,
seconds_per_iteration, report {bootstrap, attribution_bootstrap, seed, gallery}, allow_mismatch, slurm, a list
of options of sbatch; in an arm also overrides, learning_rates, seeds and seconds_per_iteration; in pretrain
also overrides, cool (0.1: the share of a checkpoint's images over which it is cooled), num_gpus and
tune (each | end: whether arms along the way have a sweep of their own or the rate chosen at the end).
docs/studies.md tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from wsl_det.study import fields
from wsl_det.study.arms import Arm, Gpus, Overrides, Rates, Seeds, check_overrides, contrasts, pairs
from wsl_det.study.arms import read as read_arms
from wsl_det.study.fields import Count, Flag, Name, Positive, Text

Engine = Literal["auto", "detectron2", "embedded"]
Metric = Literal["bbox.AP", "bbox.AP50", "bbox.AP75", "segm.AP", "segm.AP50", "segm.AP75"]
_FORM = "a study: name, output, data, learning_rates, seeds and arms"
Locate = Callable[[str, Mapping[str, tuple[str, str]]], tuple[Path, Path]]
"""Annotation file and image folder of a data set's name, built-in or among those registered."""


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
    seeds: Seeds
    engine: Annotated[Engine, Meta(description=f"one of {', '.join(get_args(Engine))}")] = "auto"
    num_gpus: Gpus = 1
    overrides: Overrides = {}
    allow_mismatch: Flag = False
    slurm: Annotated[tuple[Text, ...], Meta(description="a list of options of sbatch")] = ()


class _File(_Common, frozen=True, kw_only=True):
    output: Text
    data: Any
    arms: Annotated[dict[str, Any], Meta(description="NAME: VALUE lines")]
    learning_rates: Rates = ()
    seconds_per_iteration: Positive | None = None
    sweep: Any = {}
    report: Any = {}
    pairs: Any = None
    pretrain: Any = {}
    contrasts: Any = None


class Study(_Common, frozen=True, kw_only=True):
    """A study file, checked; ``pairs`` of arms (baseline, candidate) get reports, ``contrasts`` a verdict."""

    output: Path
    train: DataSet
    test: DataSet
    heldout: float
    sweep: Sweep
    arms: tuple[Arm, ...]
    pairs: tuple[tuple[str, str], ...]
    contrasts: tuple[tuple[str, str], ...]
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
    arms = read_arms(top, where)
    sweep = fields.section({"seed": top.seeds[0]} | dict(top.sweep), Sweep, f"{where}: sweep")
    check_overrides(top.overrides, where)
    check_overrides(sweep.overrides, f"{where}: sweep")
    judged = contrasts(top.contrasts, arms, where)
    return Study(
        name=top.name,
        output=Path(top.output),
        engine=top.engine,
        num_gpus=top.num_gpus,
        slurm=top.slurm,
        train=train,
        test=test,
        heldout=data.heldout,
        seeds=top.seeds,
        overrides=top.overrides,
        sweep=sweep,
        arms=arms,
        pairs=pairs(top.pairs, arms, judged, where),
        contrasts=judged,
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
