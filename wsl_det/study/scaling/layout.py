"""Which figures a study has, and how its points are laid out: figure, panel, series, point.

The kinds are those of the paper's Figures 1 to 5: bars by target and pretraining set, curves over images,
curves over label noise, bars by sampling, curves over capacity. Everything here is a dict as scaling.json
has it, but for the points, which are still ``Point``s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, get_args

from wsl_det.core.words import short
from wsl_det.errors import ConfigError
from wsl_det.study.scaling.entries import KINDS, Asked, Kind, Study
from wsl_det.study.scaling.points import IDENTITY, Point, by_policy, by_width, gather, of_paper, source

Key = Callable[[Point], Hashable]
BARS = ("pretraining", "sampling")
_TITLES = {
    "pretraining": "By target and pretraining set",
    "images": "Against the number of pretraining images",
    "noise": "Against label noise",
    "sampling": "By how hashtags are sampled",
    "capacity": "Against model capacity",
}
_NEEDED = {"pretraining": "two pretraining sets on a target at one capacity"} | {
    kind: f"two {of} with everything else equal"
    for kind, of in (
        ("images", "numbers of images"),
        ("noise", "values of noise"),
        ("sampling", "samplings"),
        ("capacity", "capacities"),
    )
}
_WORDS: dict[str, Callable[[Point], str]] = {
    "capacity": lambda p: p.capacity,
    "vocabulary": lambda p: p.vocabulary or "no vocabulary",
    "sampling": lambda p: p.sampling or "sampling unknown",
    "noise": lambda p: f"{100 * p.noise:g}% noise",
    "images": lambda p: "scratch" if p.images is None else short(p.images),
    "pretraining": lambda p: p.name,
}


def figures(study: Study) -> list[dict[str, Any]]:
    """The figures of a study, in the order asked for or else that of the paper.

    Raises ConfigError for a figure asked for that has nothing to show, and for a study that varies nothing.
    """
    own = gather(study)
    labels = {target.name: target.label for target in study.targets}
    found = []
    for asked in study.figures or [Asked(kind) for kind in get_args(Kind)]:
        chosen = _chosen(asked.kind, of_paper(asked.paper) if asked.paper else own)
        if not chosen and asked.paper:
            raise ConfigError(
                f"the paper's Figure {asked.paper} has nothing for a figure of kind {asked.kind}"
            )
        if not chosen and study.figures:
            raise ConfigError(f"figure {asked.kind}: no entries for it; it needs {_NEEDED[asked.kind]}")
        if chosen:
            beside = _beside(asked.kind, chosen, labels) if study.paper and not asked.paper else []
            found.append(figure(asked.kind, chosen, beside, labels))
    if not found:
        raise ConfigError(
            "the entries vary nothing that a figure could show: it takes " + ", or ".join(_NEEDED.values())
        )
    return found


def figure(
    kind: str, own: Sequence[Point], theirs: Sequence[Point], labels: Mapping[str, str]
) -> dict[str, Any]:
    """A figure of own points with the paper's beside: curves on the axes they fit, the rest on their own."""
    legend, beside = _Legend(kind, own), _Legend(kind, theirs)
    if kind in BARS:  # equal names are equal colours
        legend = beside = _Legend(kind, [*own, *theirs])

    def fits(point: Point, mine: Point) -> bool:
        # Accuracy of a frozen trunk and of a fine-tuned one are different numbers: protocols must agree.
        names = {name.casefold() for name in (mine.target, labels.get(mine.target, mine.target))}
        same = (point.metric, point.protocol) == (mine.metric, mine.protocol)
        return kind not in BARS and same and point.target.casefold() in names

    def axes(point: Point) -> Hashable:
        return ("" if kind in BARS else point.target, point.metric, point.protocol)

    panels = []
    for group in _apart(own, axes):
        joined = [point for point in theirs if fits(point, group[0])]
        series = legend.series(group) + _Legend(kind, joined).series(joined, reference=True)
        panels.append(_panel(kind, series, group, labels))
    alone = [point for point in theirs if not any(fits(point, mine) for mine in own)]
    for group in _apart(alone, axes):
        panels.append(
            _panel(kind, beside.series(group, reference=True), group, labels) | {"paper": group[0].paper}
        )
    return {
        "kind": kind,
        "title": _TITLES[kind],
        "colours": legend.colours,
        "dashes": legend.dashes,
        "sources": [source(n) for n in sorted({p.paper for p in (*own, *theirs) if p.paper})],
        "panels": panels,
    }


def place(kind: str, point: Point, panel: Mapping[str, Any]) -> Any:
    """Where a point stands along its panel's axis."""
    if kind not in BARS:
        return getattr(point, kind)
    told = {"target": lambda p: panel["labels"].get(p.target, p.target)} | _WORDS
    return "\n".join(told[name](point) for name in panel["varying"])


def _panel(
    kind: str, series: list[dict[str, Any]], group: Sequence[Point], labels: Mapping[str, str]
) -> dict[str, Any]:
    """One pair of axes; ``order`` are the places of categories along it."""
    every = [point for one in series for point in one["points"]]
    first = group[0]
    label = labels.get(first.target, first.target)
    panel: dict[str, Any] = {
        "title": label,
        "metric": first.metric,
        "protocol": first.protocol,
        "paper": None,
        "order": [],
    }
    if kind in BARS:  # a group of bars is all that varies but what tells its bars apart
        by_bar = {"pretraining", "vocabulary", "images"} if kind == "pretraining" else {kind}
        varying = [one for one in ("target", *_WORDS) if one not in by_bar and _number(group, one) > 1]
        panel |= {"varying": varying or ["target"], "labels": labels}
        panel["title"] = "" if "target" in varying or not varying else label
        panel["order"] = list(dict.fromkeys(place(kind, point, panel) for point in group))
    elif kind == "capacity":
        panel["order"] = by_width(point.capacity for point in every)
    return panel | {"series": series}


class _Legend:
    """How points are told apart: capacities by colour and the rest by dash, or the rest by colour."""

    def __init__(self, kind: str, points: Sequence[Point]) -> None:
        self.kind = kind
        self.told = [kind] if kind in BARS else []
        for name in ("pretraining", "images", "vocabulary", "sampling", "noise"):
            within = name in ("images", "vocabulary") and "pretraining" in self.told
            if kind not in BARS and name != kind and _number(points, name) > 1 and not within:
                self.told.append(name)
        capacities = by_width(p.capacity for p in points)
        lines = list(dict.fromkeys(self.line(p) for p in points))
        if kind == "sampling":
            lines = by_policy(lines)
        self.by_capacity = kind == "images" or (kind == "noise" and len(capacities) > 1)
        self.colours = capacities if self.by_capacity else lines
        self.dashes = lines if self.by_capacity else []

    def line(self, point: Point) -> str:
        """What tells a point's series from others, beside its capacity."""
        return ", ".join(_WORDS[name](point) for name in self.told)

    def series(self, points: Sequence[Point], *, reference: bool = False) -> list[dict[str, Any]]:
        """The points apart by colour and dash; ``name`` is what tells them from the others of the figure."""
        found = []
        for group in _apart(points, lambda p: (p.capacity if self.by_capacity else "", self.line(p))):
            capacity, line = group[0].capacity, self.line(group[0])
            parts = (capacity if self.by_capacity else "", line)
            found.append({
                "name": ", ".join(part for part in parts if part) or capacity,
                "colour": self.colours.index(capacity if self.by_capacity else line),
                "dash": self.dashes.index(line) if self.by_capacity else 0,
                "paper": reference,
                "points": group,
            })  # fmt: skip
        return found


def _number(points: Iterable[Point], name: str) -> int:
    return len({getattr(point, name) for point in points})


def _apart(points: Iterable[Point], key: Key) -> list[list[Point]]:
    found: dict[Hashable, list[Point]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return list(found.values())


def _kept(points: Sequence[Point], key: Key, rule: Callable[[list[Point]], Iterable[Point]]) -> list[Point]:
    """The points that ``rule`` keeps of each group."""
    keep = {point for group in _apart(points, key) for point in rule(group)}
    return [point for point in points if point in keep]


def _but(*names: str) -> Key:
    """What points that differ in ``names`` alone share."""
    return lambda point: tuple(getattr(point, name) for name in IDENTITY if name not in names)


def _varied(points: Sequence[Point], name: str) -> list[Point]:
    """The points of which another differs in ``name`` alone."""
    known = [point for point in points if getattr(point, name) is not None]
    return _kept(known, _but(name), lambda group: group if _number(group, name) > 1 else [])


def _at_largest(points: Sequence[Point], name: str) -> list[Point]:
    """Of points that differ in ``name`` and images alone, those of the largest number of images."""
    most: dict[Hashable, float] = {}
    key = _but(name, "images")
    for point in points:
        most[key(point)] = max(point.images or 0, most.get(key(point), 0))
    return [point for point in points if (point.images or 0) == most[key(point)]]


def _place(point: Point) -> Hashable:
    return (point.target, point.metric, point.protocol)


def _chosen(kind: str, points: Sequence[Point]) -> list[Point]:
    """The points that a kind of figure shows."""
    if kind == "images":
        varied = _varied(points, "images")
        # A capacity with one size has no curve, but its point belongs beside the curves of its target.
        places = {_place(p) for p in varied}
        beside = [p for p in points if p.images and _place(p) in places]
        return [p for p in beside if p in varied or p.pretraining is None]
    if kind == "pretraining":
        named = [point for point in points if point.pretraining is not None]
        key = _but("images", "vocabulary", "sampling", "pretraining")
        return _kept(named, key, lambda g: _at_largest(g, "images") if _number(g, kind) > 1 else [])
    return _at_largest(_varied(points, kind), kind)


def _beside(kind: str, own: Sequence[Point], labels: Mapping[str, str]) -> list[Point]:
    """The paper's points for the same targets; where it has none of them, those of IN-1k."""
    theirs = _chosen(kind, of_paper(KINDS.index(kind) + 1))
    mine = {name.casefold() for p in own for name in (p.target, labels.get(p.target, p.target))}
    same = [point for point in theirs if point.target.casefold() in mine]
    return same or [point for point in theirs if point.target == "IN-1k"]
