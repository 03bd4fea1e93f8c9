"""Grouped bars of AP and AP@50 by trunk, one colour for each pretraining set, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_det.core.figures import INK, MUTED, Drawing, bare, drawing
from wsl_det.study.capacities import METRICS, in_order

COLOURS = ("#8b95a3", "#c46a12", "#5b8cc9", "#1b4f9c", "#2f7d5b", "#7a4a8c", "#a5371f", "#8a7a35")
_NAMES = {"AP": "AP", "AP50": "AP at IoU 0.5"}


def draw(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """The bars of one IoU type of capacities.json."""
    return drawing("capacities", rows, lambda rows, narrow: _figure(rows, narrow=narrow))


def _figure(rows: Sequence[Mapping[str, Any]], *, narrow: bool) -> Figure:
    figure = Figure(figsize=(3.7, 5.0) if narrow else (7.4, 3.1), layout="constrained")
    panels = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for axes, metric in zip(panels, METRICS, strict=True):
        _bars(axes, rows, metric)
    names = in_order(row["pretraining"] for row in rows)
    handles = [matplotlib.patches.Patch(color=_colour(i)) for i in range(len(names))]
    figure.legend(handles, names, loc="outside upper left", ncols=2 if narrow else 4, frameon=False,
                  handlelength=1.0, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip
    return figure


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    trunks = in_order(row["trunk"] for row in rows)
    sets = in_order(row["pretraining"] for row in rows)
    axes.set_title(_NAMES[metric], pad=8)
    highest = max((row[metric]["mean"] or 0.0 for row in rows), default=0.0)
    for at, trunk in enumerate(trunks):
        mine = [row for row in rows if row["trunk"] == trunk]
        width = 0.8 / max(len(mine), 2)
        for i, row in enumerate(mine):
            place = at + (i - (len(mine) - 1) / 2) * width
            colour = _colour(sets.index(row["pretraining"]))
            _bar(axes, place, width, row[metric], colour=colour, highest=highest)
    axes.set_xticks(range(len(trunks)), trunks, color=INK)
    axes.set_xlim(-0.55, len(trunks) - 0.45)
    axes.margins(y=0.06)
    axes.set_ylim(bottom=0)
    bare(axes, "y")


def _bar(
    axes: Axes, place: float, width: float, value: Mapping[str, Any], *, colour: str, highest: float
) -> None:
    mean = value["mean"]
    if mean is None:
        axes.annotate("–", (place, 0), (0, 2), textcoords="offset points", ha="center", color=MUTED)
        return
    axes.bar(place, mean, width=0.9 * width, color=colour, linewidth=0)
    runs = value["runs"]
    if len(runs) > 1:
        axes.plot([place] * len(runs), runs, "o", color=INK, markersize=2.6, alpha=0.75)
    # Upright inside the bar, at its foot: beside each other the values of narrow bars would run together.
    inside = mean > 0.3 * highest
    axes.annotate(f"{mean:.1f}", (place, 0 if inside else max([mean, *runs])), (0, 4),
                  textcoords="offset points", rotation=90, ha="center", va="bottom", fontsize=8,
                  color="white" if inside else INK, fontweight="bold")  # fmt: skip


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
