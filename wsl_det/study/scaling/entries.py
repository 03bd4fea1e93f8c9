"""A scaling study as its YAML lists it: targets, entries with their result files, figures asked for.

    title: Hashtags at four sizes
    targets:
      posts: {label: held-out posts, metric: recall_any@5}
    entries:
      - {capacity: 8x4d, images: 1.3k, vocabulary: in1k, sampling: sqrt, results: [a.json, b.json]}
      - {capacity: 8x4d, images: 2.7k, vocabulary: in1k, sampling: sqrt, value: 14.2, interval: [12.7, 15.8]}

Several files of an entry are runs with different seeds. What a result file says of its pretraining may
be left out here. docs/scaling.md has the whole of it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsl_det.errors import ConfigError
from wsl_det.study.fields import Fields

KINDS = ("pretraining", "images", "noise", "sampling", "capacity")
"""Kinds of figure, in the order of the paper's Figures 1 to 5."""
_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_COUNT = re.compile(r"([\d.]+(?:[eE][+-]?\d+)?)\s*([kMB]?)")
_FORM = "a title and a list of entries {capacity, images, target, results}"


@dataclass(frozen=True)
class Target:
    """What is measured: a test set by name, and the numbers of its result files that are shown."""

    name: str
    label: str
    metrics: tuple[str, ...] = ("top1",)


@dataclass(frozen=True)
class Entry:
    """One pretraining on one target. None stands for what the YAML leaves to the result files.

    ``noise`` is a fraction of the tags; ``value`` and ``interval`` are percent and stand in for ``results``.
    """

    where: str
    target: str
    capacity: str | None = None
    images: float | None = None
    vocabulary: str | None = None
    sampling: str | None = None
    noise: float | None = None
    pretraining: str | None = None
    protocol: str | None = None
    results: tuple[Path, ...] = ()
    value: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Asked:
    """A figure that is asked for: its kind, and the paper's figure whose points it shows, if it does."""

    kind: str
    paper: int | None = None


@dataclass(frozen=True)
class Study:
    """A study file. ``figures`` None: those the entries vary enough for. ``paper``: its curves beside."""

    title: str
    targets: tuple[Target, ...]
    entries: tuple[Entry, ...]
    figures: tuple[Asked, ...] | None
    paper: bool


def read(path: str | Path) -> Study:
    """The study of a YAML file; relative paths start at that file's folder.

    Raises ConfigError naming the entry for whatever cannot be meant.
    """
    path = Path(path)
    tree = _tree(path)
    top = Fields(tree, str(path))
    title = top.text("title", "Accuracy against pretraining images")
    figures = _figures(top)
    targets = _targets(top)
    rows = top.any("entries", [])
    if not isinstance(rows, list) or not (rows or any(one.paper for one in figures or ())):
        raise ConfigError(f"{path}: expected {_FORM}")
    paper = top.boolean("paper", False)
    top.done()
    rows = [row if isinstance(row, dict) else {"entry": row} for row in rows]
    entries = [_entry(Fields(row, f"{path}: entry {i}"), path.parent, targets) for i, row in enumerate(rows)]
    if not targets:
        targets = tuple(Target(name, name) for name in dict.fromkeys(entry.target for entry in entries))
    return Study(title, targets, tuple(entries), figures, paper)


def count(value: Any) -> float | None:
    """A number of images above 0, such as 10980, 3.5e+9 or ``940M``; None where it cannot be meant."""
    if isinstance(value, str):
        found = _COUNT.fullmatch(value.strip())
        try:
            value = float(found[1]) * _SUFFIXES[found[2]] if found else None
        except ValueError:
            return None
    known = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < math.inf
    return float(value) if known else None


def _tree(path: Path) -> dict[Any, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected {_FORM}")
    return tree


def _targets(top: Fields) -> tuple[Target, ...]:
    found = []
    section = top.section("targets", {})
    for name in section.tree:
        given = section.any(name)
        row = Fields(given if isinstance(given, dict) else {"label": given}, f"{section.where}: {name}")
        metric = row.any("metric", "top1")
        metrics = metric if isinstance(metric, list) else [metric]
        if not metrics or not all(isinstance(one, str) and one for one in metrics):
            raise row.wrong("metric", metric, "a name such as top1, recall_any@5 or AP50, or a list of them")
        found.append(Target(str(name), row.text("label", str(name)), row.distinct("metric", metrics)))
        row.done()
    return tuple(found)


def _figures(top: Fields) -> tuple[Asked, ...] | None:
    given = top.any("figures", None)
    if given is None:
        return None
    if not isinstance(given, list) or not given:
        raise top.wrong("figures", given, f"a list of {', '.join(KINDS)}")
    found = []
    for i, one in enumerate(given):
        row = Fields(one if isinstance(one, dict) else {"kind": one}, f"{top.where}: figure {i}")
        row.any("kind")
        paper = row.any("paper", None)
        if paper is not None and paper not in range(1, len(KINDS) + 1):
            raise row.wrong("paper", paper, f"a figure of the paper, 1 to {len(KINDS)}")
        found.append(Asked(row.choice("kind", KINDS, KINDS[0]), paper))
        row.done()
    return top.distinct("figures", found)


def _entry(fields: Fields, folder: Path, targets: Sequence[Target]) -> Entry:
    only = targets[0].name if len(targets) == 1 else None
    target = fields.text("target") if only is None else fields.text("target", only)
    names = [one.name for one in targets]
    if names and target not in names:
        near = difflib.get_close_matches(target, names, n=1)
        told = f"; did you mean {near[0]!r}?" if near else f"; targets lists {', '.join(names)}"
        raise ConfigError(f"{fields.where}: target {target!r} is not among the targets{told}")
    value, interval = _inline(fields)
    entry = Entry(
        where=fields.where,
        target=target,
        capacity=fields.text("capacity", None),
        images=_images(fields),
        vocabulary=fields.text("vocabulary", None),
        sampling=fields.text("sampling", None),
        noise=_noise(fields),
        pretraining=fields.text("pretraining", None),
        protocol=fields.text("protocol", None),
        results=_results(fields, folder, value),
        value=value,
        interval=interval,
    )
    fields.done()
    if value is not None and any(len(one.metrics) > 1 for one in targets if one.name == target):
        raise ConfigError(f"{fields.where}: value is one number, but target {target!r} has several metrics")
    if value is not None and entry.capacity is None:
        raise ConfigError(f"{fields.where}: capacity is missing; say it beside the value, such as 32x8d")
    return entry


def _results(fields: Fields, folder: Path, value: float | None) -> tuple[Path, ...]:
    given = fields.any("results", None)
    if value is not None and given is not None:
        raise ConfigError(f"{fields.where}: value and results are both given; keep one of them")
    if value is not None:
        return ()
    if given is None:
        raise ConfigError(f"{fields.where}: results is missing (or a value in percent)")
    listed = given if isinstance(given, list) else [given]
    if not listed or not all(isinstance(name, str) and name for name in listed):
        raise fields.wrong("results", given, "a result file, or a list of them")
    return tuple(folder / name for name in listed)


def _inline(fields: Fields) -> tuple[float | None, tuple[float, float] | None]:
    value, interval = fields.any("value", None), fields.any("interval", None)
    if value is not None and not _percent(value):
        raise fields.wrong("value", value, "percent, 0 to 100")
    if interval is None:
        return (None if value is None else float(value)), None
    if value is None:
        raise ConfigError(f"{fields.where}: interval stands without a value")
    pair = isinstance(interval, list) and len(interval) == 2 and all(_percent(one) for one in interval)
    if not pair or not interval[0] <= value <= interval[1] or interval[0] == interval[1]:
        raise fields.wrong("interval", interval, "[low, high] in percent around the value")
    return float(value), (float(interval[0]), float(interval[1]))


def _percent(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _images(fields: Fields) -> float | None:
    given = fields.any("images", None)
    number = count(given)
    if given is not None and number is None:
        raise fields.wrong("images", given, "1 image or more, such as 10980 or 940M (left out: none)")
    return number


def _noise(fields: Fields) -> float | None:
    given = fields.any("noise", None)
    if given is None:
        return None
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given <= 1:
        raise fields.wrong("noise", given, "a fraction of the tags, 0 to 1")
    return float(given)
