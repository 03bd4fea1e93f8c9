"""The figures of scaling.json: curves and bars, drawn once for the page (wide and narrow) and once as PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from wsl_det.core.figures import INK, MUTED, Drawing, bare, drawing
from wsl_det.core.words import short
from wsl_det.study.scaling import words
from wsl_det.study.scaling.layout import BARS

# Told apart by hue (blue against ochre) or lightness in every kind of colour blindness; markers differ too.
_FEW = ((), ("#1b4f9c",), ("#c46a12", "#1b4f9c"), ("#c46a12", "#5b8cc9", "#1b4f9c"))
_MANY = ("#8b95a3", "#c46a12", "#9dbde6", "#5b8cc9", "#1b4f9c", "#7a4a8c", "#2f7d5b", "#a5371f")
_PAPER = "#8b95a3"
_BANDS = 2
"""Lines with a shaded interval; the intervals of more would hide each other and stand in the table alone."""
_MARKERS = "os^Dv<>P"
_APART = 0.012
"""Of the axis, between points of lines that are measured at the same place."""
_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def draw(content: Mapping[str, Any]) -> list[Drawing]:
    """A drawing of each figure of scaling.json's content."""
    return [
        drawing(f"scaling {i} {figure['kind']}", figure, _bars if figure["kind"] in BARS else _curves)
        for i, figure in enumerate(content["figures"])
    ]


def colour(index: int, of: int) -> str:
    """The colour of the ``index``-th of ``of`` names."""
    palette = _FEW[of] if of < len(_FEW) else _MANY
    return palette[index % len(palette)]


def _sheet(panels: int, narrow: bool, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = 1 if narrow else min(columns, panels)
    rows = math.ceil(panels / columns)
    size = (3.7, 0.55 + 0.92 * height * rows) if narrow else (7.4, 0.55 + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]


def _curves(record: dict[str, Any], narrow: bool) -> Figure:
    panels = record["panels"]
    crowded = record["kind"] == "images" or any(len(panel["order"]) > 3 for panel in panels)
    columns = 2 if crowded or len(panels) % 3 else 3
    figure, places = _sheet(len(panels), narrow, columns, 2.9 if columns == 2 else 2.6)
    for axes, panel in zip(places, panels, strict=True):
        for one in panel["series"]:
            _line(axes, record, panel | {"log": record["kind"] == "images"}, one)
        _name_reference(axes, panel)
        _chance(axes, panel)
        axes.set_title(_title(panel), pad=8)
        bare(axes, "y")
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axes.margins(x=0.06, y=0.08)
        _x_axis(axes, record["kind"], panel, few=narrow or columns == 3)
        if narrow or len({one["axis"] for one in panels}) > 1:
            axes.set_ylabel(f"{panel['axis']}, %")
    if not narrow and len({one["axis"] for one in panels}) == 1:
        figure.supylabel(f"{panels[0]['axis']}, %", fontsize=8.5, color=MUTED)
    _legend(figure, record, narrow, markers=True)
    return figure


def _title(panel: Mapping[str, Any], *more: str, apart: str = " · ") -> str:
    """A panel's title; what stands for reference is named as the paper's."""
    reference = "the paper’s, for reference" if panel["paper"] is not None else ""
    return apart.join(part for part in (panel["title"], reference, *more) if part)


def _line(axes: Axes, record: Mapping[str, Any], panel: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    points = one["points"]
    places = _apart(panel, one)
    hue = _PAPER if one["paper"] else colour(one["colour"], len(record["colours"]))
    if one["fit"] is not None and any(point["paper"] is None for point in points):
        band = one["fit"]["band"]
        x = [10**value for value in band["log10_images"]]
        if sum(other["fit"] is not None for other in panel["series"]) <= _BANDS:
            axes.fill_between(x, band["low"], band["high"], color=hue, alpha=0.12, linewidth=0)
        axes.plot(x, band["value"], color=hue, linewidth=0.9, alpha=0.6)
    for place, point in zip(places, points, strict=True):
        if point["interval"] is not None:
            axes.plot([place, place], point["interval"], color=hue, linewidth=1.1, alpha=0.7)
        if len(point["runs"]) > 1:
            axes.plot([place] * len(point["runs"]), point["runs"], "_", color=hue, markersize=5, alpha=0.9)
    style = _DASHES[one["dash"] % len(_DASHES)]
    values = [point["value"] for point in points]
    if one["paper"]:
        axes.plot(places, values, color=hue, linestyle=style, linewidth=1.0, marker="o", markersize=2.2)
        return
    axes.plot(places, values, color=hue, linestyle=style, linewidth=1.5, markersize=4.8, zorder=3,
              marker=_MARKERS[one["colour"] % len(_MARKERS)], markeredgecolor="white",
              markeredgewidth=0.5)  # fmt: skip


def _apart(panel: Mapping[str, Any], one: Mapping[str, Any]) -> list[float]:
    """Where a line's points are drawn: beside other lines' at the same x, whose intervals they would hide."""
    own = [other for other in panel["series"] if not other["paper"]]
    places = _along(panel, one)
    if one["paper"] or len(own) < 2:
        return places
    shift = own.index(one) - (len(own) - 1) / 2
    if panel["order"]:
        return [place + 0.05 * shift for place in places]
    every = [place for other in own for place in _along(panel, other)]
    if panel["log"]:
        reach = math.log10(max(every) / min(every)) or 1.0
        return [place * 10 ** (_APART * reach * shift) for place in places]
    return [place + _APART * (max(every) - min(every)) * shift for place in places]


def _along(panel: Mapping[str, Any], one: Mapping[str, Any]) -> list[Any]:
    order = panel["order"]
    return [order.index(p["place"]) if order else p["place"] for p in one["points"]]


def _name_reference(axes: Axes, panel: Mapping[str, Any]) -> None:
    """Names beside the paper's lines: at their end, or at the start of those that end before others do."""
    lines = [(one["name"], _along(panel, one), one["points"]) for one in panel["series"] if one["paper"]]
    if not lines:
        return
    last = max(places[-1] for _, places, _ in lines)
    word = "" if panel["paper"] is not None else "paper "
    for at_end in (True, False):
        ends = sorted(
            (points[-1 if at_end else 0]["value"], places[-1 if at_end else 0], name)
            for name, places, points in lines
            if (places[-1] == last) == at_end
        )
        low, high = axes.get_ylim()
        above = -math.inf
        for value, place, name in ends:
            above = max(value, above + 0.065 * (high - low))
            axes.annotate(word + name, (place, above), (5 if at_end else -5, 0), textcoords="offset points",
                          ha="left" if at_end else "right", va="center", fontsize=6.5,
                          color=MUTED)  # fmt: skip


def _chance(axes: Axes, panel: Mapping[str, Any]) -> None:
    """What a constant guess scores, where the result files say it."""
    every = [
        (place, point["chance"])
        for one in panel["series"]
        for place, point in zip(_along(panel, one), one["points"], strict=True)
    ]
    known = dict(pair for pair in every if pair[1] is not None)
    if known:
        places, guesses = zip(*sorted(known.items()), strict=True)
        axes.plot(places, guesses, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        axes.annotate("a constant guess", (places[0], guesses[0]), (0, 3), textcoords="offset points",
                      fontsize=7, color=MUTED)  # fmt: skip


def _x_axis(axes: Axes, kind: str, panel: Mapping[str, Any], *, few: bool) -> None:
    if panel["order"]:
        axes.set_xticks(
            range(len(panel["order"])), _wrapped(panel["order"], 14), fontsize=7.5 if few else None
        )
        axes.set_xlim(-0.4, len(panel["order"]) - 0.6)
        axes.set_xlabel("capacity")
        return
    where = sorted({point["place"] for one in panel["series"] for point in one["points"]})
    if kind == "images":
        axes.set_xscale("log")
        named = any(one["paper"] for one in panel["series"])
        shown = _spread(where, 0.14 if named else 0.09)
        axes.set_xticks(shown, [short(x) for x in shown])
        if named:  # room for the names of the paper's lines
            reach = where[-1] / where[0]
            axes.set_xlim(where[0] / reach**0.25, where[-1] * reach**0.3)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("pretraining images")
        return
    axes.set_xticks(where)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
    axes.set_xlabel("tags replaced, %")


def _spread(sizes: Sequence[float], apart: float) -> list[float]:
    """Sizes at least a share ``apart`` of the axis from each other, so that labels do not run together."""
    reach = math.log10(sizes[-1] / sizes[0]) or 1.0
    kept = [sizes[0]]
    for size in sizes[1:]:
        if math.log10(size / kept[-1]) > apart * reach:
            kept.append(size)
    return kept


def _bars(record: dict[str, Any], narrow: bool) -> Figure:
    panels = record["panels"]
    most = max(sum(len(one["points"]) for one in panel["series"]) for panel in panels)
    # Lying: upright bars would have their values run together, and the names under them.
    figure, places = _sheet(
        len(panels), narrow, 2 if most < 12 else 1, 0.7 + (0.2 if narrow else 0.17) * most
    )
    for axes, panel in zip(places, panels, strict=True):
        title = _title(panel, words.protocol(panel["protocol"]), apart="\n" if narrow else " · ")
        axes.set_title(title, pad=8)
        for at, width, hue, point in _placed(record, panel):
            axes.barh(at, point["value"], height=0.92 * width, color=hue, linewidth=0)
            reach = point["interval"] or ()
            axes.plot(reach, [at] * len(reach), color=INK, linewidth=1.1)
            runs = point["runs"] if len(point["runs"]) > 1 else ()
            axes.plot(runs, [at] * len(runs), "o", color=INK, markersize=2.2, alpha=0.75)
            axes.annotate(f"{point['value']:.1f}", (max([point["value"], *reach, *runs]), at), (3, 0),
                          textcoords="offset points", va="center", fontsize=7.5, color=INK)  # fmt: skip
        names = _wrapped(panel["order"], 14 if narrow or most < 12 else 30)
        axes.set_yticks(range(len(names)), names, color=INK)
        axes.set_ylim(len(panel["order"]) - 0.4, -0.6)
        axes.set_xlim(0, 1.12 * axes.get_xlim()[1])
        axes.set_xlabel(f"{panel['axis']}, %")
        bare(axes, "x")
    _legend(figure, record, narrow, markers=False)
    return figure


def _placed(record: Mapping[str, Any], panel: Mapping[str, Any]) -> Iterator[tuple[float, float, str, Any]]:
    """Place, width, colour and point of each bar."""
    width = 0.84 / max(len(panel["series"]), 2)
    for i, one in enumerate(panel["series"]):
        shift = (i - (len(panel["series"]) - 1) / 2) * width
        for point in one["points"]:
            at = panel["order"].index(point["place"]) + shift
            yield at, width, colour(one["colour"], len(record["colours"])), point


def _legend(figure: Figure, record: Mapping[str, Any], narrow: bool, *, markers: bool) -> None:
    """Names above the axes: colours, and how the dashes are to be read."""
    names, dashes = record["colours"], record["dashes"]
    handles = [
        Line2D([], [], linestyle="", marker=_MARKERS[i % len(_MARKERS)] if markers else "s", markersize=5.5,
               color=colour(i, len(names)))
        for i in range(len(names))
    ]  # fmt: skip
    labels = [name or "all" for name in names]
    for i, name in enumerate(dashes if len(dashes) > 1 else ()):
        handles.append(Line2D([], [], color=INK, linewidth=1.3, linestyle=_DASHES[i % len(_DASHES)]))
        labels.append(name)
    if len(labels) < 2:
        return
    # As many columns as the longest name leaves room for, and height for the rows.
    room = (52 if narrow else 104) // (max(map(len, labels)) + 5)
    columns = max(1, min(room, 2 if narrow else 5))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.17 * (math.ceil(len(labels) / columns) - 1))
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False,
                  handletextpad=0.4, columnspacing=1.2, borderaxespad=0.1, handlelength=1.7)  # fmt: skip


def _wrapped(names: Sequence[str], width: int) -> list[str]:
    return ["\n".join(textwrap.fill(line, width) for line in name.split("\n")) for name in names]
