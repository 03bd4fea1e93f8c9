"""Entries and their result files made into points: what was trained, on how much, and what it scored."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsl_det.errors import ConfigError, DataError
from wsl_det.gain import estimates
from wsl_det.study.scaling import entries, results
from wsl_det.study.scaling.entries import Entry, Study, Target

_WIDTH = re.compile(r"(\d+)x(\d+)d")
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
    def identity(self) -> tuple[Any, ...]:
        """What no two points may share."""
        return (self.target, self.metric, self.protocol, self.capacity, self.images, self.vocabulary,
                self.sampling, self.noise, self.pretraining)  # fmt: skip

    @property
    def name(self) -> str:
        """The pretraining set in words: its name, else images and vocabulary."""
        if self.pretraining is not None:
            return self.pretraining
        size = "scratch" if self.images is None else short(self.images)
        return f"{size}-{self.vocabulary}" if self.vocabulary else size


def short(images: float) -> str:
    """A number of images in three digits: 10,980 as 11k, 940 million as 940M."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if images >= 0.9995 * size:
            return f"{images / size:.3g}{suffix}"
    return f"{images:.3g}"


def by_width(capacities: Iterable[str]) -> list[str]:
    """Different capacities, the narrowest first; in order of mention when a name tells no width."""
    different = list(dict.fromkeys(capacities))
    found = [_WIDTH.search(name) for name in different]
    if not all(found):
        return different
    return sorted(different, key=lambda name: _width(name) or 0)


def by_policy(samplings: Iterable[str]) -> list[str]:
    """Different samplings: natural, sqrt, uniform, then others in order of mention."""
    different = list(dict.fromkeys(samplings))
    return [s for s in _SAMPLINGS if s in different] + [s for s in different if s not in _SAMPLINGS]


def gather(study: Study) -> list[Point]:
    """The points of a study's entries, one for each metric of the target.

    Raises ConfigError for entries given twice and for what a file and the YAML say differently, and
    DataError for files that are no results, hold no percent, or were made on different test images.
    """
    _check_files_once(study.entries)
    targets = {target.name: target for target in study.targets}
    found: list[Point] = []
    owner: dict[tuple[Any, ...], str] = {}
    for entry in study.entries:
        for point in _points(entry, targets[entry.target]):
            if point.identity in owner:
                raise ConfigError(
                    f"{owner[point.identity]} and {entry.where} are the same pretraining on the same target; "
                    "put runs with different seeds into one list of results"
                )
            owner[point.identity] = entry.where
            found.append(point)
    _check_test_sets(found)
    _check_vocabularies(found)
    return found


def _points(entry: Entry, target: Target) -> list[Point]:
    if entry.value is not None:
        made = replace(_bare(entry, entry.capacity or ""), metric=target.metrics[0], value=entry.value)
        error = None if entry.interval is None else _half(entry.interval)
        how = None if entry.interval is None else "as given"
        runs, errors = (entry.value,), (error,)
        return [replace(made, interval=entry.interval, interval_of=how, runs=runs, errors=errors)]
    trees = {path: results.read(path) for path in entry.results}
    for path, tree in trees.items():
        entry = _agreed(entry, results.said(tree), path)
    if entry.capacity is None:
        raise ConfigError(f"{entry.where}: capacity is missing, and {entry.results[0]} does not say it")
    sets = {one: path for path, tree in trees.items() if (one := results.test_set(tree))}
    if len(sets) > 1:
        raise _different(list(sets.values()), entry.target)
    words = {one for tree in trees.values() if (one := results.vocabulary(tree))}
    bare = replace(
        _bare(entry, entry.capacity),
        test_set=next(iter(sets), None),
        vocabulary_sha256=", ".join(sorted(words)) or None,
    )
    return [_measured(bare, trees, metric) for metric in target.metrics]


def _bare(entry: Entry, capacity: str) -> Point:
    return Point(
        target=entry.target,
        metric="",
        capacity=capacity,
        value=math.nan,
        protocol=entry.protocol,
        images=entry.images,
        vocabulary=entry.vocabulary,
        sampling=entry.sampling,
        noise=entry.noise or 0.0,
        pretraining=entry.pretraining,
        files=tuple(str(path) for path in entry.results),
    )


def _measured(bare: Point, trees: Mapping[Path, Mapping[str, Any]], metric: str) -> Point:
    read = [results.number(tree, metric, path) for path, tree in trees.items()]
    values = tuple(one.value for one in read)
    errors = tuple(None if one.interval is None else _half(one.interval) for one in read)
    interval, how = read[0].interval, "test images"
    if len(values) > 1:
        half = (
            estimates.t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        )
        mean = statistics.mean(values)
        interval, how = (mean - half, mean + half), "runs"
    return replace(
        bare,
        metric=metric,
        value=statistics.mean(values),
        interval=interval,
        interval_of=None if interval is None else how,
        runs=values,
        errors=errors,
        chance=read[0].chance,
    )


def _half(interval: tuple[float, float]) -> float:
    """The standard error that a 95% interval stands for."""
    return (interval[1] - interval[0]) / (2 * results.Z95)


def _agreed(entry: Entry, said: Mapping[str, Any], path: Path) -> Entry:
    """The entry with what a file says of its pretraining; what differs is an error naming both."""
    known: dict[str, Any] = {}
    for key, given in said.items():
        if key == "vocabulary" and results.is_hash(given) and entry.vocabulary is not None:
            continue  # a name and a hash cannot be compared; _check_vocabularies holds them together
        value = _understood(key, given, path)
        mine = getattr(entry, key)
        if mine is None:
            known[key] = value
        elif not _same(key, mine, value):
            raise ConfigError(
                f"{entry.where}: {key} is {_shown(mine)}, but {path} says {_shown(value)}; "
                "correct the entry, or leave it out there"
            )
        elif key == "images":
            known[key] = value  # the exact number, where the YAML has it rounded
    return replace(entry, **known)


def _understood(key: str, given: Any, path: Path) -> Any:
    if key == "images":
        value: Any = entries.count(given)
    elif key == "noise":
        usable = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
        value = float(given) if usable else None
    elif key == "vocabulary" and results.is_hash(given):
        value = given[:8]
    else:
        value = str(given)
    if value is None:
        raise DataError(
            f"{path}: the pretraining's {key} is {given!r:.60}; expected a number that can be meant"
        )
    return value


def _same(key: str, mine: Any, said: Any) -> bool:
    if key == "images":
        return math.isclose(mine, said, rel_tol=0.01)
    if key == "noise":
        return math.isclose(mine, said, abs_tol=1e-9)
    widths = [_WIDTH.search(text) for text in (mine, said)] if key == "capacity" else []
    if widths and all(widths):
        return len({one[0] for one in widths if one}) == 1
    return bool(mine == said)


def _shown(value: Any) -> str:
    return f"{value:,g}" if isinstance(value, float) else repr(value)


def _width(capacity: str) -> int | None:
    found = _WIDTH.search(capacity)
    return int(found[1]) * int(found[2]) if found else None


def _check_files_once(listed: Sequence[Entry]) -> None:
    seen: dict[Path, str] = {}
    for entry in listed:
        for path in entry.results:
            where = seen.setdefault(path.resolve(), entry.where)
            twice = sum(path.resolve() == other.resolve() for other in entry.results) > 1
            if where != entry.where or twice:
                raise ConfigError(f"{where} and {entry.where} both list {path}; a run counts once")


def _check_test_sets(found: Sequence[Point]) -> None:
    known: dict[str, Point] = {}
    for point in found:
        if point.test_set is None:
            continue
        first = known.setdefault(point.target, point)
        if first.test_set != point.test_set:
            raise _different([Path(first.files[0]), Path(point.files[0])], point.target)


def _check_vocabularies(found: Sequence[Point]) -> None:
    known: dict[str, Point] = {}
    for point in found:
        if point.vocabulary is None or point.vocabulary_sha256 is None:
            continue
        first = known.setdefault(point.vocabulary, point)
        if first.vocabulary_sha256 != point.vocabulary_sha256:
            raise DataError(
                f"{first.files[0]} and {point.files[0]} are both under vocabulary {point.vocabulary!r} "
                "but were pretrained with different ones, by their hashes: give them names of their own"
            )


def _different(paths: Sequence[Path], target: str) -> DataError:
    return DataError(
        f"{paths[0]} and {paths[1]} are both of target {target!r} but were measured on different "
        "test images; a curve through both would compare test sets: give them targets of "
        "their own, or measure again"
    )
