"""A scaling study as its YAML lists it: targets, entries with their result files, figures asked for.

Several files of an entry are runs with different seeds; what a result file says of its pretraining may
be left out. docs/scaling.md has the form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from wsl_det.errors import ConfigError
from wsl_det.study import fields
from wsl_det.study.fields import Files, Flag, Percent, Text

Kind = Literal["pretraining", "images", "noise", "sampling", "capacity"]
KINDS: tuple[str, ...] = get_args(Kind)
"""Kinds of figure, in the order of the paper's Figures 1 to 5."""
FORM = "a title and a list of entries {capacity, images, target, results}"
_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_COUNT = re.compile(r"([\d.]+(?:[eE][+-]?\d+)?)\s*([kMB]?)")
_METRIC = "a name such as top1 or AP50, or a list of them"
_INTERVAL = "[low, high] in percent around the value"
_IMAGES = "1 image or more, such as 10980 or 940M (left out: none)"
Fraction = Annotated[float, Meta(ge=0, le=1, description="a fraction of the tags, 0 to 1")]


class Target(msgspec.Struct, frozen=True):
    """What is measured: a test set by name, and the numbers of its result files that are shown."""

    name: str
    label: Text = ""
    metric: Annotated[tuple[Text, ...], Meta(min_length=1, description=_METRIC)] | Text = ("top1",)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics as they are shown, each once."""
        return tuple(dict.fromkeys((self.metric,) if isinstance(self.metric, str) else self.metric))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One pretraining on one target. None stands for what the YAML leaves to the result files.

    ``noise`` is a fraction of the tags; ``value`` and ``interval`` are percent and stand in for ``results``.
    """

    where: str
    target: Text = ""
    capacity: Text | None = None
    images: Annotated[float | str, Meta(description=_IMAGES)] | None = None
    vocabulary: Text | None = None
    sampling: Text | None = None
    noise: Fraction | None = None
    pretraining: Text | None = None
    protocol: Text | None = None
    results: Files = ""
    value: Percent | None = None
    interval: Annotated[tuple[Percent, Percent], Meta(description=_INTERVAL)] | None = None
    files: tuple[Path, ...] = ()


class Asked(msgspec.Struct, frozen=True):
    """A figure that is asked for: its kind, and the paper's figure whose points it shows, if it does."""

    kind: Annotated[Kind, Meta(description=f"one of {', '.join(KINDS)}")]
    paper: Annotated[int, Meta(ge=1, le=5, description="a figure of the paper, 1 to 5")] | None = None


class Study(msgspec.Struct, frozen=True):
    """A study file: tuples of ``Target``, ``Entry`` and ``Asked``; ``paper``: its curves beside.

    ``figures`` None: those that the entries vary enough for.
    """

    title: Text = "Accuracy against pretraining images"
    targets: Any = ()
    entries: Annotated[Sequence[Any], Meta(description=FORM)] = ()
    figures: (
        Annotated[Sequence[Any], Meta(min_length=1, description=f"a list of {', '.join(KINDS)}")] | None
    ) = None
    paper: Flag = False


def read(path: str | Path, *, paper: bool = False) -> Study:
    """The study of a YAML file, with the paper's curves if ``paper``; relative paths start at its folder.

    Raises ConfigError naming the entry for whatever cannot be meant.
    """
    top = fields.section(fields.read(path, "study", FORM), Study, str(path))
    figures = None if top.figures is None else _figures(top.figures, str(path))
    named = top.targets or {}
    if not isinstance(named, dict):
        raise fields.wrong(f"{path}: targets", named, "NAME: VALUE lines")
    targets = tuple(_target(name, given, f"{path}: targets: {name}") for name, given in named.items())
    if not top.entries and not any(one.paper for one in figures or ()):
        raise ConfigError(f"{path}: expected {FORM}")
    entries = [_entry(row, f"{path}: entry {i}", targets) for i, row in enumerate(top.entries)]
    if not targets:
        targets = tuple(Target(name, name) for name in dict.fromkeys(entry.target for entry in entries))
    return Study(top.title, targets, tuple(entries), figures, paper or top.paper)


def count(value: Any) -> float | None:
    """A number of images above 0, such as 10980, 3.5e+9 or ``940M``; None where it cannot be meant."""
    if isinstance(value, str):
        found = _COUNT.fullmatch(value.strip())
        try:
            value = float(found[1]) * _SUFFIXES[found[2]] if found else None
        except ValueError:
            return None
    known = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < 1e300
    return float(value) if known else None


def _target(name: str, given: Any, where: str) -> Target:
    target = fields.section(given if isinstance(given, dict) else {"label": given}, Target, where, name=name)
    return msgspec.structs.replace(target, label=target.label or name)


def _figures(given: Sequence[Any], where: str) -> tuple[Asked, ...]:
    rows = [one if isinstance(one, dict) else {"kind": one} for one in given]
    found = tuple(fields.section(row, Asked, f"{where}: figure {i}") for i, row in enumerate(rows))
    if len(set(found)) < len(found):
        raise fields.wrong(f"{where}: figures", given, "every figure once")
    return found


def _entry(row: Any, where: str, targets: Sequence[Target]) -> Entry:
    entry = fields.section(row, Entry, where, where=where, files=())
    names = [one.name for one in targets]
    target = entry.target or (names[0] if len(names) == 1 else "")
    if not target:
        raise ConfigError(f"{where}: target is missing")
    if names and target not in names:
        told = fields.near(target, names) or f"; targets lists {', '.join(names)}"
        raise ConfigError(f"{where}: target {target!r} is not among the targets{told}")
    images = count(entry.images)
    if entry.images is not None and images is None:
        raise fields.wrong(f"{where}: images", entry.images, _IMAGES)
    if entry.value is not None:
        _check_inline(entry, next((one for one in targets if one.name == target), None))
    elif entry.interval is not None:
        raise ConfigError(f"{where}: interval stands without a value")
    elif not entry.results:
        raise ConfigError(f"{where}: results is missing (or a value in percent)")
    files = fields.files(entry.results, Path(where.rpartition(": ")[0]).parent)
    return msgspec.structs.replace(entry, target=target, images=images, files=files)


def _check_inline(entry: Entry, target: Target | None) -> None:
    """Refuse what cannot stand beside a value given in the YAML."""
    where, value, interval = entry.where, entry.value or 0.0, entry.interval
    if entry.results:
        raise ConfigError(f"{where}: value and results are both given; keep one of them")
    if interval and (not interval[0] <= value <= interval[1] or interval[0] == interval[1]):
        raise fields.wrong(f"{where}: interval", list(interval), _INTERVAL)
    if target is not None and len(target.metrics) > 1:
        raise ConfigError(f"{where}: value is one number, but target {target.name!r} has several metrics")
    if entry.capacity is None:
        raise ConfigError(f"{where}: capacity is missing; say it beside the value, such as 32x8d")
