"""Points of a study: entries with their result files, and the paper's: what was trained, what it scored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wsl_det.core import yaml_files
from wsl_det.core.words import short
from wsl_det.errors import ConfigError, DataError
from wsl_det.gain.estimates import t_quantile
from wsl_det.study.scaling import entries, results
from wsl_det.study.scaling.entries import Entry, Study, Target

_WIDTH = re.compile(r"(\d+)x(\d+)d")
IDENTITY = (
    "target", "metric", "protocol", "capacity", "images", "vocabulary", "sampling", "noise", "pretraining",
)  # fmt: skip
"""What no two points of a study may share."""
_SAMPLINGS = ("natural", "sqrt", "uniform")


@dataclass(frozen=True)
class Point:
    """One pretraining on one target: percent, with the standard error of each run over the test images.

    ``interval_of`` says what the 95% interval is over: "test images", "runs" (Student t over seeds),
    "as given", or None without one. ``reading`` is the error of a number digitised from a figure, ``chance``
    the score of a constant guess.
    """

    target: str
    metric: str
    capacity: str
    value: float
    protocol: str | None = None
    images: float | None = None
    vocabulary: str | None = None
    sampling: str | None = None
    noise: float = 0.0
    pretraining: str | None = None
    interval: tuple[float, float] | None = None
    interval_of: str | None = None
    runs: tuple[float, ...] = ()
    errors: tuple[float | None, ...] = ()
    files: tuple[str, ...] = ()
    test_set: str | None = None
    vocabulary_sha256: str | None = None
    paper: int | None = None
    reading: float | None = None
    chance: float | None = None

    @property
    def name(self) -> str:
        """The pretraining set in words: its name, else images and vocabulary."""
        if self.pretraining is not None:
            return self.pretraining
        size = "scratch" if self.images is None else short(self.images)
        return f"{size}-{self.vocabulary}" if self.vocabulary else size


def by_width(capacities: Iterable[str]) -> list[str]:
    """Different capacities, the narrowest first; in order of mention when a name tells no width."""
    different = list(dict.fromkeys(capacities))
    widths = {name: width[0] for name in different if (width := _width(name))}
    return sorted(different, key=widths.__getitem__) if len(widths) == len(different) else different


def by_policy(samplings: Iterable[str]) -> list[str]:
    """Different samplings: natural, sqrt, uniform, then others in order of mention."""
    different = list(dict.fromkeys(samplings))
    return [s for s in _SAMPLINGS if s in different] + [s for s in different if s not in _SAMPLINGS]


def gather(study: Study) -> list[Point]:
    """The points of a study's entries, one for each metric of the target.

    Raises ConfigError for entries given twice and for what a file and the YAML say differently, and
    DataError for files that are no results, hold no percent, or were made on different test images.
    """
    check_files_once([(entry.where, entry.files) for entry in study.entries])
    targets = {target.name: target for target in study.targets}
    found: dict[tuple[Any, ...], tuple[str, Point]] = {}
    for entry in study.entries:
        for point in _points(entry, targets[entry.target]):
            identity = tuple(getattr(point, name) for name in IDENTITY)
            if identity in found:
                raise ConfigError(
                    f"{found[identity][0]} and {entry.where} are the same pretraining on the same "
                    "target; put runs with different seeds into one list of results"
                )
            found[identity] = (entry.where, point)
    every = [point for _, point in found.values()]
    for target in targets:
        own = [(p.files[0], p.test_set) for p in every if p.target == target and p.files]
        check_one_test_set(own, target)
    _check_vocabularies(every)
    return every


def _points(entry: Entry, target: Target) -> list[Point]:
    if entry.value is not None:
        error, how = (None, None) if entry.interval is None else (_half(entry.interval), "as given")
        made = _bare(entry, metric=target.metrics[0], value=entry.value, runs=(entry.value,), errors=(error,))
        return [replace(made, interval=entry.interval, interval_of=how)]
    trees = {path: results.read(path) for path in entry.files}
    for path, tree in trees.items():
        entry = _agreed(entry, results.said(tree), path)
    if entry.capacity is None:
        raise ConfigError(f"{entry.where}: capacity is missing, and {entry.files[0]} does not say it")
    sets = [(str(path), results.test_set(tree)) for path, tree in trees.items()]
    known = {one for tree in trees.values() if (one := results.vocabulary(tree))}
    bare = _bare(
        entry,
        test_set=check_one_test_set(sets, entry.target),
        vocabulary_sha256=", ".join(sorted(known)) or None,
        files=tuple(map(str, entry.files)),
    )
    return [_measured(bare, trees, metric) for metric in target.metrics]


def _bare(entry: Entry, **more: Any) -> Point:
    said = {name: getattr(entry, name) for name in IDENTITY if name != "metric"}
    said |= {"metric": "", "value": math.nan, "noise": entry.noise or 0.0}
    return Point(**said | more)


def _measured(bare: Point, trees: Mapping[Path, Mapping[str, Any]], metric: str) -> Point:
    read = [results.number(tree, metric, path) for path, tree in trees.items()]
    values = tuple(one.value for one in read)
    errors = tuple(None if one.interval is None else _half(one.interval) for one in read)
    interval, how = read[0].interval, "test images" if read[0].interval else None
    if len(values) > 1:
        interval, how = _students(values), "runs"
    made = replace(bare, metric=metric, value=float(np.mean(values)), runs=values, errors=errors)
    return replace(made, interval=interval, interval_of=how, chance=read[0].chance)


def _students(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95% interval of the mean of runs."""
    half = t_quantile(0.975, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _half(interval: tuple[float, float]) -> float:
    """The standard error that a 95% interval stands for."""
    return (interval[1] - interval[0]) / (2 * t_quantile(0.975, math.inf))


def _agreed(entry: Entry, said: Mapping[str, Any], path: Path) -> Entry:
    """The entry with what a file says of its pretraining; what differs is an error naming both."""
    for key, given in said.items():
        hashed, mine = key == "vocabulary" and results.is_hash(given), getattr(entry, key)
        if hashed and mine is not None:
            continue  # a name and a hash cannot be compared; _check_vocabularies holds them together
        value = given[:8] if hashed else _understood(key, given, path)
        if mine is not None and not _same(key, mine, value):
            raise ConfigError(
                f"{entry.where}: {key} is {_shown(mine)}, but {path} says {_shown(value)}; "
                "correct the entry, or leave it out there"
            )
        if mine is None or key == "images":  # the exact number, where the YAML has it rounded
            entry = msgspec.structs.replace(entry, **{key: value})
    return entry


def _understood(key: str, given: Any, path: Path) -> Any:
    if key not in ("images", "noise"):
        return str(given)
    usable = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
    value = entries.count(given) if key == "images" else float(given) if usable else None
    if value is None:
        raise DataError(f"{path}: the pretraining's {key} is {given!r:.60}; expected a number")
    return value


def _same(key: str, mine: Any, said: Any) -> bool:
    if key in ("images", "noise"):
        return math.isclose(mine, said, rel_tol=0.01 if key == "images" else 0, abs_tol=1e-9)
    return bool(mine == said) or (key == "capacity" and _width(mine) == _width(said) is not None)


def _shown(value: Any) -> str:
    return f"{value:,g}" if isinstance(value, float) else repr(value)


def _width(capacity: str) -> tuple[int, str] | None:
    """Groups times width, and both as written; None where a name tells no width."""
    found = _WIDTH.search(capacity)
    return (int(found[1]) * int(found[2]), found[0]) if found else None


def check_files_once(listed: Sequence[tuple[str, Sequence[Path]]]) -> None:
    """Refuse a result file that stands twice among the files of entries."""
    seen: dict[Path, str] = {}
    for where, paths in listed:
        for path in paths:
            if path.resolve() in seen:
                raise ConfigError(
                    f"{seen[path.resolve()]} and {where} both hold {path}; a run counts once, and runs of "
                    "one entry stand in one list"
                )
            seen[path.resolve()] = where


def check_one_test_set(sets: Sequence[tuple[str, str | None]], target: str) -> str | None:
    """The test set of the files (path, test set or None) of one target; DataError where they have several."""
    known = [(path, one) for path, one in sets if one is not None]
    other = next((path for path, one in known if one != known[0][1]), None)
    if other is not None:
        raise DataError(
            f"{known[0][0]} and {other} are both of target {target!r} but were measured on different "
            "test images; a curve through both would compare test sets: give them targets of "
            "their own, or measure again"
        )
    return known[0][1] if known else None


def _check_vocabularies(found: Sequence[Point]) -> None:
    known: dict[str, Point] = {}
    for point in (one for one in found if one.vocabulary and one.vocabulary_sha256):
        first = known.setdefault(str(point.vocabulary), point)
        if first.vocabulary_sha256 != point.vocabulary_sha256:
            raise DataError(
                f"{first.files[0]} and {point.files[0]} are both under vocabulary {point.vocabulary!r} "
                "but were pretrained with different ones, by their hashes: give them names of their own"
            )


@cache
def _paper() -> dict[str, Any]:
    tree: dict[str, Any] = yaml_files.read(Path(__file__).parent / "paper.yaml")
    return tree


def source(figure: int) -> str:
    """Where the points of one of the paper's figures come from: authors, figure, how they were read."""
    facts = _paper()["figures"][str(figure)]
    how = "numbers printed in it"
    if facts["read"] == "digitised":
        how = f"digitised from it, ±{facts['error']:g} points"
    return f"{_paper()['source']}, Figure {figure}: {how}. {facts['note']}"


def of_paper(figure: int) -> list[Point]:
    """The points of the paper's Figure 1 to 5; top-1 accuracy in percent, ``reading`` its reading error."""
    facts = _paper()["figures"][str(figure)]
    fixed = [name for name in IDENTITY if name not in ("metric", "protocol")]
    found = []
    for row in facts["rows"]:
        for where, given in row["values"].items():
            what = {key: row.get(key, facts.get(key)) for key in fixed} | {facts["over"]: where}
            what |= _paper()["sets"].get(what["pretraining"], {})
            what |= {"images": entries.count(what["images"]), "noise": float(what["noise"] or 0)}
            what |= {"metric": "top1", "value": float(given), "runs": (float(given),), "errors": (None,)}
            found.append(Point(**what, protocol=facts["protocol"], paper=figure, reading=facts.get("error")))
    return found
