"""The arms of a study file: how each backbone comes about and is fine-tuned, and which are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, get_args

import msgspec
from msgspec import Meta

from wsl_det.errors import ConfigError
from wsl_det.study import fields
from wsl_det.study.fields import Count, Name, Positive, Text

Rates = Annotated[
    tuple[Positive, ...],
    Meta(min_length=1, description="a list of numbers above 0, such as [0.01, 0.02]"),
]
Seeds = Annotated[
    tuple[Count, ...],
    Meta(min_length=1, description="a list of whole numbers, 0 or more, such as [1, 2, 3]"),
]
Share = Annotated[float, Meta(gt=0, le=1, description="a share above 0, up to 1")]
Shares = Annotated[tuple[Share, ...], Meta(description="a list of shares above 0, up to 1, such as [0.1, 1]")]
Gpus = Annotated[int, Meta(ge=1, le=4096, description="a whole number, 1 or more")]
Labels = Literal["hashtags", "synsets", "shuffled"]
Tune = Literal["each", "end"]
Overrides = Annotated[dict[str, Any], Meta(description="KEY: VALUE lines")]
SCRATCH = "scratch"
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
_OWNED_BEFORE = {
    "DATA.SHARDS": "shards",
    "DATA.LABELS": "labels",
    "SEED": "seeds",
    "OUTPUT_DIR": "output",
    "SOLVER.KEEP_AT": "at",
    "SOLVER.COOL_FROM": "at",
    "SOLVER.COOL_SHARE": "cool",
}


class Top(Protocol):
    """What the file says for all arms."""

    @property
    def arms(self) -> dict[str, Any]: ...
    @property
    def learning_rates(self) -> tuple[float, ...]: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def seconds_per_iteration(self) -> float | None: ...
    @property
    def pretrain(self) -> Any: ...


class Pretrain(msgspec.Struct, frozen=True, kw_only=True):
    """How the backbones of an arm are pretrained, one for each seed.

    at: shares of the images of a run at constant rate at which a branch is cooled, over a further ``cool`` of
    its images; empty for a run by the config's own schedule.
    """

    config: Text
    shards: Text
    seeds: Seeds
    labels: Annotated[Labels, Meta(description=f"one of {', '.join(get_args(Labels))}")] = "hashtags"
    at: Shares = ()
    cool: Share = 0.1
    tune: Annotated[Tune, Meta(description=f"one of {', '.join(get_args(Tune))}")] = "each"
    overrides: Overrides = {}
    num_gpus: Gpus = 1


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One backbone and how it is fine-tuned.

    weights: a file, "" for random initialisation, None for what the config says. trunk and
    pretraining place the arm in the table of capacities. seconds_per_iteration: None if unknown.
    recipe: how its backbones are made, if the study makes them. at: the share of the run from which they are
    cooled branches, if they are. root: the name in the file, which is that of the whole run.
    """

    name: str
    config: Text
    weights: Text | None = None
    pretrain: Any = None
    trunk: Text = "detector"
    pretraining: Text = ""
    learning_rates: Rates = ()
    seeds: Seeds = ()
    overrides: Overrides = {}
    seconds_per_iteration: Positive | None = None
    root: str = ""
    recipe: Pretrain | None = None
    at: float | None = None

    @property
    def tuned_as(self) -> str:
        """The arm whose sweep chooses the learning rate: itself, or that of the end of its run."""
        return self.root if self.recipe is not None and self.recipe.tune == "end" else self.name


def check_overrides(overrides: Mapping[str, Any], where: str, owned: Mapping[str, str] = _OWNED) -> None:
    for key, given in overrides.items():
        if key in owned:
            raise fields.wrong(
                f"{where}: overrides.{key}", given, f"it to be left to the study ({owned[key]})"
            )


def _check_once(given: Sequence[Any], where: str) -> None:
    if len(set(given)) < len(given):
        raise fields.wrong(where, list(given), "every value once")


def read(top: Top, where: str) -> tuple[Arm, ...]:
    if not top.arms:
        raise ConfigError(f"{where}: arms is empty; expected at least one entry")
    arms: list[Arm] = []
    for name, given in top.arms.items():
        arms += _along(_arm(name, given, top, f"{where}: arms: {name}"))
    arms = [_seeded(arm, arms, top, where) for arm in arms]
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
    return tuple(arms)


def _arm(name: str, given: Any, top: Top, where: str) -> Arm:
    fixed = {"root": "", "recipe": None, "at": None}
    arm = fields.section(given, Arm, where, name=fields.value(name, Name, f"{where}: the name"), **fixed)
    check_overrides(arm.overrides, where)
    rates = arm.learning_rates or top.learning_rates
    if not rates:
        raise fields.wrong(f"{where}: learning_rates", None, "a list here or for the whole study")
    _check_once(rates, f"{where}: learning_rates")
    if arm.pretrain is not None and arm.weights is not None:
        raise fields.wrong(f"{where}: weights", arm.weights, "either weights or pretrain, which makes them")
    return msgspec.structs.replace(
        arm,
        weights="" if arm.weights == SCRATCH else arm.weights,
        pretraining=arm.pretraining or name,
        learning_rates=rates,
        seconds_per_iteration=arm.seconds_per_iteration or top.seconds_per_iteration,
        root=name,
        recipe=None if arm.pretrain is None else _recipe(arm.pretrain, top.pretrain, f"{where}: pretrain"),
    )


def _recipe(own: Any, shared: Any, where: str) -> Pretrain:
    for given in (own, shared):
        if not isinstance(given, Mapping) or not isinstance(given.get("overrides") or {}, Mapping):
            raise fields.wrong(where, given, "KEY: VALUE lines, beside those of the study's pretrain")
    merged = {**shared, **own}
    merged["overrides"] = {**(shared.get("overrides") or {}), **(own.get("overrides") or {})}
    recipe = fields.section(merged, Pretrain, where)
    check_overrides(recipe.overrides, where, _OWNED_BEFORE | ({"SOLVER.SCHEDULE": "at"} if recipe.at else {}))
    _check_once(recipe.seeds, f"{where}: seeds")
    _check_once(recipe.at, f"{where}: at")
    if recipe.tune == "end" and recipe.at and 1 not in recipe.at:
        raise fields.wrong(f"{where}: at", list(recipe.at), "1 among them where tune is end")
    return recipe


def _along(arm: Arm) -> list[Arm]:
    """The arm itself, or one for each share of its run: NAME@0.1, and NAME for the whole."""
    if arm.recipe is None or not arm.recipe.at:
        return [arm]
    names = [(share, "" if share == 1 else f"@{share:g}") for share in sorted(arm.recipe.at)]
    return [
        msgspec.structs.replace(arm, name=arm.name + end, pretraining=arm.pretraining + end, at=share)
        for share, end in names
    ]


def _seeded(arm: Arm, arms: Sequence[Arm], top: Top, where: str) -> Arm:
    """The arm with its seeds: its own, else the study's; of random initialisation those of pretraining."""
    others = next((one.recipe.seeds for one in arms if one.recipe is not None), top.seeds)
    seeds = arm.seeds or (others if arm.weights == "" else top.seeds)
    _check_once(seeds, f"{where}: seeds" if seeds == top.seeds else f"{where}: arms: {arm.root}: seeds")
    return msgspec.structs.replace(arm, seeds=seeds)


def contrasts(given: Any, arms: tuple[Arm, ...], where: str) -> tuple[tuple[str, str], ...]:
    """(baseline, candidate) of each "candidate - baseline"."""
    names = [arm.name for arm in arms]
    expected = f'a list of "candidate - baseline", each once, of the arms {", ".join(names)}'
    kind = Annotated[tuple[Text, ...], Meta(description=expected)]
    listed = () if given is None else fields.value(given, kind, f"{where}: contrasts")
    found = []
    for one in listed:
        sides = [side.strip() for side in one.split(" - ")]
        unknown = next((side for side in sides if side not in names), None)
        if unknown is not None and len(sides) == 2:
            raise ConfigError(
                f"{where}: contrasts: {one!r} names no arm {unknown!r}{fields.near(unknown, names)}"
            )
        if len(sides) != 2 or sides[0] == sides[1]:
            raise fields.wrong(f"{where}: contrasts", one, expected)
        found.append((sides[1], sides[0]))
    if len({frozenset(pair) for pair in found}) < len(found):
        raise fields.wrong(f"{where}: contrasts", list(listed), expected)
    return tuple(found)


def pairs(
    given: Any, arms: tuple[Arm, ...], contrasts: Sequence[tuple[str, str]], where: str
) -> tuple[tuple[str, str], ...]:
    """The contrasts and the pairs named; without either the first arm of each trunk against its others."""
    names = [arm.name for arm in arms]
    if given is None and not contrasts:
        first: dict[str, str] = {}
        for arm in arms:
            first.setdefault(arm.trunk, arm.name)
        return tuple((first[arm.trunk], arm.name) for arm in arms if first[arm.trunk] != arm.name)
    expected = f"[baseline, candidate] pairs of the arms {', '.join(names)}"
    kind = Annotated[tuple[tuple[Text, Text], ...], Meta(description=expected)]
    pairs: tuple[tuple[str, str], ...] = fields.value(given or [], kind, f"{where}: pairs")
    if any(a == b or not {a, b} <= set(names) for a, b in pairs):
        raise fields.wrong(f"{where}: pairs", given, expected)
    judged = [frozenset(pair) for pair in contrasts]
    return (*contrasts, *(pair for pair in pairs if frozenset(pair) not in judged))
