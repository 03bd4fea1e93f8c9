"""Which figures a study has, and how its points are laid out: figure, panel, series, point.

The kinds are those of the paper's Figures 1 to 5: bars by target and pretraining set, curves over images,
curves over label noise, bars by sampling, curves over capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsl_det.errors import ConfigError
from wsl_det.study.scaling import paper
from wsl_det.study.scaling.entries import KINDS, Asked, Study
from wsl_det.study.scaling.points import Point, by_policy, by_width, gather, short

BARS = ("pretraining", "sampling")
TITLES = {
    "pretraining": "By target and pretraining set",
    "images": "Against the number of pretraining images",
    "noise": "Against label noise",
    "sampling": "By how hashtags are sampled",
    "capacity": "Against model capacity",
}
_FREE = ("capacity", "images", "vocabulary", "sampling", "noise", "pretraining")
_NEEDED = {
    "pretraining": "two pretraining sets on a target at one capacity",
    "images": "two numbers of images with everything else equal",
    "noise": "two values of noise with everything else equal",
    "sampling": "two samplings with everything else equal",
    "capacity": "two capacities with everything else equal",
}


@dataclass(frozen=True)
class Series:
    """Points of one colour and dash; ``name`` holds what tells it from the others of its figure.

    ``paper``: the paper's, for reference beside own points.
    """

    name: str
    colour: int
    dash: int
    points: tuple[Point, ...]
    paper: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes: points that may stand on one axis.

    ``places`` are their places along it; ``order`` are those of categories. ``paper`` is the paper's figure
    where the panel holds nothing else, for reference.
    """

    title: str
    metric: str
    protocol: str | None
    series: tuple[Series, ...]
    places: Mapping[Point, Any]
    order: tuple[str, ...] = ()
    paper: int | None = None


@dataclass(frozen=True)
class Figure:
    """A kind of figure with its panels; ``colours`` and ``dashes`` are the names that the legend shows."""

    kind: str
    title: str
    panels: tuple[Panel, ...]
    colours: tuple[str, ...]
    dashes: tuple[str, ...]
    sources: tuple[str, ...]


def figures(study: Study) -> list[Figure]:
    """The figures of a study, in the order asked for or else that of the paper.

    Raises ConfigError for a figure asked for that has nothing to show, and for a study that varies nothing.
    """
    own = gather(study)
    labels = {target.name: target.label for target in study.targets}
    found = []
    for asked in study.figures or [Asked(kind) for kind in KINDS]:
        chosen = paper.points(asked.paper) if asked.paper else _CHOOSE[asked.kind](own)
        if asked.paper and not (chosen := _CHOOSE[asked.kind](chosen)):
            raise ConfigError(
                f"the paper's Figure {asked.paper} has nothing for a figure of kind {asked.kind}"
            )
        if not chosen and study.figures:
            raise ConfigError(f"figure {asked.kind}: no entries for it; it needs {_NEEDED[asked.kind]}")
        if chosen:
            beside = _beside(asked, chosen, labels) if study.paper and not asked.paper else []
            found.append(_figure(asked.kind, chosen, beside, labels))
    if not found:
        raise ConfigError(
            "the entries vary nothing that a figure could show: it takes "
            + ", or ".join(_NEEDED[kind] for kind in KINDS)
        )
    return found


def _apart(points: Iterable[Point], key: Callable[[Point], Hashable]) -> dict[Any, list[Point]]:
    found: dict[Any, list[Point]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return found


def _but(*names: str) -> Callable[[Point], Hashable]:
    kept = [name for name in ("target", "metric", "protocol", *_FREE) if name not in names]
    return lambda point: tuple(getattr(point, name) for name in kept)


def _varied(points: Sequence[Point], name: str) -> list[Point]:
    """The points of which another differs in ``name`` alone."""
    keep: set[Point] = set()
    for group in _apart((p for p in points if getattr(p, name) is not None), _but(name)).values():
        if len({getattr(p, name) for p in group}) > 1:
            keep.update(group)
    return [point for point in points if point in keep]


def _at_largest(points: Sequence[Point], name: str) -> list[Point]:
    """Of points that differ in ``name`` and images alone, those of the largest number of images."""
    keep: set[Point] = set()
    for group in _apart(points, _but(name, "images")).values():
        most = max(p.images or 0 for p in group)
        keep.update(p for p in group if (p.images or 0) == most)
    return [point for point in points if point in keep]


def _on_images(points: Sequence[Point]) -> list[Point]:
    varied = _varied(points, "images")
    # A capacity with one size has no curve, but its point belongs beside the curves of its target.
    places = {(p.target, p.metric, p.protocol) for p in varied}
    kept = [p for p in points if p.images is not None and (p.target, p.metric, p.protocol) in places]
    return [p for p in kept if p in varied or p.pretraining is None]


def _on_pretraining(points: Sequence[Point]) -> list[Point]:
    keep: set[Point] = set()
    named = [point for point in points if point.pretraining is not None]
    for group in _apart(named, lambda p: (p.target, p.metric, p.protocol, p.capacity, p.noise)).values():
        if len({point.pretraining for point in group}) > 1:
            keep.update(_at_largest(group, "images"))
    return [point for point in points if point in keep]


def _on(name: str) -> Callable[[Sequence[Point]], list[Point]]:
    return lambda points: _at_largest(_varied(points, name), name)


_CHOOSE: dict[str, Callable[[Sequence[Point]], list[Point]]] = {
    "pretraining": _on_pretraining,
    "images": _on_images,
    "noise": _on("noise"),
    "sampling": _on("sampling"),
    "capacity": _on("capacity"),
}


def _beside(asked: Asked, own: Sequence[Point], labels: dict[str, str]) -> list[Point]:
    """The paper's points for the same targets; where it has none of them, those of IN-1k."""
    theirs = _CHOOSE[asked.kind](paper.points(KINDS.index(asked.kind) + 1))
    mine = {name.casefold() for p in own for name in (p.target, labels.get(p.target, p.target))}
    same = [point for point in theirs if point.target.casefold() in mine]
    return same or [point for point in theirs if point.target == "IN-1k"]


def _figure(kind: str, own: Sequence[Point], theirs: Sequence[Point], labels: dict[str, str]) -> Figure:
    legend = _Legend(kind, own)
    beside = _Legend(kind, theirs)
    if kind in BARS:  # equal names are equal colours
        legend = beside = _Legend(kind, [*own, *theirs])
    panels = []
    for key, group in _apart(own, _axes_of(kind)).items():
        joined = [point for point in theirs if kind not in BARS and _fits(point, group[0], labels)]
        panels.append(_panel(kind, legend, group, labels, target=key[0], joined=joined))
    apart = [point for point in theirs if not any(_fits(point, one, labels) for one in own)]
    for key, group in _apart(apart if kind not in BARS else theirs, _axes_of(kind)).items():
        panels.append(_panel(kind, beside, group, labels, target=key[0], reference=True))
    sources = [paper.source(n) for n in sorted({p.paper for p in (*own, *theirs) if p.paper})]
    return Figure(kind, TITLES[kind], tuple(panels), legend.colours, legend.dashes, tuple(sources))


def _axes_of(kind: str) -> Callable[[Point], tuple[Any, ...]]:
    """What has to be equal for points to share axes; bars of several targets stand side by side."""
    return lambda p: ("" if kind in BARS else p.target, p.metric, p.protocol)


def _fits(theirs: Point, own: Point, labels: dict[str, str]) -> bool:
    """Whether a point of the paper may stand on the axes of an own one.

    Accuracy of a frozen trunk and of a fine-tuned one are different numbers, so protocols must agree.
    """
    names = {name.casefold() for name in (own.target, labels.get(own.target, own.target))}
    return theirs.target.casefold() in names and (theirs.metric, theirs.protocol) == (
        own.metric,
        own.protocol,
    )


class _Legend:
    """How points are told apart: capacities by colour and the rest by dash, or the rest by colour."""

    def __init__(self, kind: str, points: Sequence[Point]) -> None:
        self.kind = kind
        names = ("pretraining", "images", "vocabulary", "sampling", "noise")
        self.varying = {name for name in names if len({getattr(p, name) for p in points}) > 1} - {kind}
        capacities = tuple(by_width(p.capacity for p in points))
        lines = tuple(dict.fromkeys(self.line(p) for p in points))
        if kind == "sampling":
            lines = tuple(by_policy(lines))
        self.by_capacity = kind == "images" or (kind == "noise" and len(capacities) > 1)
        self.colours = capacities if self.by_capacity else lines
        self.dashes = lines if self.by_capacity else ()

    def line(self, point: Point) -> str:
        """What tells a point's series from others, beside its capacity."""
        if self.kind == "sampling":
            return point.sampling or ""
        if self.kind == "pretraining":
            return point.name
        parts = []
        if "pretraining" in self.varying:
            parts.append(point.name)
        elif self.kind != "images" and "images" in self.varying:
            parts.append("scratch" if point.images is None else short(point.images))
        if "vocabulary" in self.varying and "pretraining" not in self.varying:
            parts.append(point.vocabulary or "no vocabulary")
        if "sampling" in self.varying:
            parts.append(point.sampling or "sampling unknown")
        if "noise" in self.varying:
            parts.append(f"{100 * point.noise:g}% noise")
        return ", ".join(parts)

    def series(self, points: Sequence[Point], *, reference: bool = False) -> list[Series]:
        """The points apart by colour and dash."""
        found = []
        whose = _apart(points, lambda p: (p.capacity if self.by_capacity else "", self.line(p)))
        for (capacity, line), group in whose.items():
            colour = self.colours.index(capacity if self.by_capacity else line)
            dash = self.dashes.index(line) if self.by_capacity else 0
            name = ", ".join(part for part in (capacity, line) if part) or group[0].capacity
            found.append(Series(name, colour, dash, tuple(group), reference))
        return found


def _panel(
    kind: str,
    legend: _Legend,
    group: Sequence[Point],
    labels: dict[str, str],
    *,
    target: str,
    joined: Sequence[Point] = (),
    reference: bool = False,
) -> Panel:
    series = legend.series(group, reference=reference)
    if joined:
        series += _Legend(kind, joined).series(joined, reference=True)
    points = [point for one in series for point in one.points]
    title, places = labels.get(target, target), dict[Point, Any]()
    if kind in BARS:
        title, places = _groups(kind, group, labels)
        order = tuple(dict.fromkeys(places.values()))
    else:
        order = tuple(by_width(p.capacity for p in points)) if kind == "capacity" else ()
        places = {point: getattr(point, kind) for point in points}
    paper_figure = group[0].paper if reference else None
    return Panel(title, group[0].metric, group[0].protocol, tuple(series), places, order, paper_figure)


def _groups(kind: str, points: Sequence[Point], labels: dict[str, str]) -> tuple[str, dict[Point, str]]:
    """The title of a panel of bars, and the group of each bar: all that varies but what tells bars apart."""
    told = {
        "target": lambda p: labels.get(p.target, p.target),
        "capacity": lambda p: p.capacity,
        "vocabulary": lambda p: p.vocabulary or "no vocabulary",
        "sampling": lambda p: p.sampling or "sampling unknown",
        "noise": lambda p: f"{100 * p.noise:g}% noise",
        "images": lambda p: "scratch" if p.images is None else short(p.images),
        "pretraining": lambda p: p.name,
    }
    by_bar = {"pretraining", "vocabulary", "images"} if kind == "pretraining" else {kind}
    varying = [name for name in told if name not in by_bar and len({getattr(p, name) for p in points}) > 1]
    title = "" if "target" in varying or not varying else told["target"](points[0])
    return title, {p: "\n".join(told[name](p) for name in varying or ["target"]) for p in points}
