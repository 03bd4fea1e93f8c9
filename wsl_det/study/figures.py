"""The figures of a study's page: factors by arm, along pretraining, and how the seeds scatter."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from wsl_det.core.figures import BLUE, INK, MUTED, OCHRE, Drawing, bare, drawing
from wsl_det.core.words import plain, short
from wsl_det.study.scaling.figures import colour

FACTORS = (
    ("recognition", "recognition: AP at IoU 0.1", BLUE),
    ("localization", "localization: AP / AP at IoU 0.1", OCHRE),
)
_MARKERS = "os^D"


def draw(arms: Sequence[Mapping[str, Any]], iou_type: str) -> dict[str, Drawing]:
    """Figures by name of study.json's arms: factors, seeds, and along where images seen are known."""
    names = list(dict.fromkeys(arm["pretraining"] for arm in arms))
    rows = [
        {
            **arm,
            "levels": arm["levels"][iou_type],
            "AP": [run[f"{iou_type}.AP"] for run in arm["runs"]],
            # That of its bars in the table of capacities.
            "hue": colour(names.index(arm["pretraining"]), len(names)),
        }
        for arm in arms
    ]
    kinds = {"factors": _factors, "seeds": _seeds}
    if len({row["images"] for row in rows} - {None}) > 1:
        kinds["along"] = _along
    return {name: drawing(f"study {name} {iou_type}", rows, make) for name, make in kinds.items()}


def _panels(narrow: bool, height: float) -> tuple[Figure, list[Axes]]:
    """Two axes, beside each other or below."""
    size = (3.7, 2 * height) if narrow else (7.4, height)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False).ravel().tolist()


def _factors(rows: Sequence[Mapping[str, Any]], narrow: bool) -> Figure:
    figure, places = _panels(narrow, 0.8 + 0.27 * len(rows))
    for axes, (name, title, hue) in zip(places, FACTORS, strict=True):
        for at, row in enumerate(rows):
            one = row["levels"][name]
            if one["value"] is None:
                continue
            low, high = one["interval"]
            if low is not None:
                axes.plot([low, high], [at, at], color=hue, linewidth=1.6, alpha=0.55, solid_capstyle="butt")
            axes.plot(one["value"], at, "o", color=hue, markersize=5)
            axes.annotate(plain(one["value"]), (one["value"], at), (0, 5), textcoords="offset points",
                          ha="center", fontsize=7.5, color=INK)  # fmt: skip
        axes.set_title(title, pad=8)
        _names(axes, rows, shown=narrow or name == FACTORS[0][0])
        axes.set_xlabel("%")
    return figure


def _names(axes: Axes, rows: Sequence[Mapping[str, Any]], *, shown: bool = True) -> None:
    axes.set_yticks(range(len(rows)), [_wrapped(row["name"]) if shown else "" for row in rows], color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    bare(axes, "x")


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 20)


def _along(rows: Sequence[Mapping[str, Any]], narrow: bool) -> Figure:
    """Factors against images seen. Cooled arms of a run are joined; others stand alone, hollow."""
    figure, places = _panels(narrow, 2.7)
    rows = [row for row in rows if row["images"] is not None]
    roots = list(dict.fromkeys(row["root"] for row in rows))
    hues = {row["root"]: row["hue"] for row in rows}  # the whole run's, which comes last
    for axes, (name, title, _) in zip(places, FACTORS, strict=True):
        for i, root in enumerate(roots):
            mine = sorted((row for row in rows if row["root"] == root), key=lambda row: row["images"])
            mine = [row for row in mine if row["levels"][name]["value"] is not None]
            hue, marker = hues[root], _MARKERS[i % len(_MARKERS)]
            for row in mine:
                if not row["cooled"]:
                    axes.plot(row["images"], row["levels"][name]["value"], marker, markersize=5, color=hue,
                              fillstyle="none", label=f"{root}, not cooled")  # fmt: skip
            if not (cool := [row for row in mine if row["cooled"]]):
                continue
            x, y = [row["images"] for row in cool], [row["levels"][name]["value"] for row in cool]
            low, high = zip(*(row["levels"][name]["interval"] for row in cool), strict=True)
            if None not in low:
                axes.fill_between(x, low, high, color=hue, alpha=0.13, linewidth=0)
            axes.plot(x, y, color=hue, marker=marker, markersize=4.5, linewidth=1.4, label=root)
        sizes = sorted({row["images"] for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [short(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("images seen in pretraining")
        axes.set_ylabel("%")
        axes.set_title(title, pad=8)
        bare(axes, "y")
    handles, labels = places[0].get_legend_handles_labels()
    kept = dict(zip(map(_wrapped, labels), handles, strict=True))
    longest = max(len(line) for label in kept for line in label.split("\n"))
    columns = max(1, (52 if narrow else 104) // (longest + 5))
    lines = max(label.count("\n") + 1 for label in kept) * -(-len(kept) // columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.15 * lines)
    figure.legend(kept.values(), kept.keys(), loc="outside upper left", ncols=columns, frameon=False,
                  handletextpad=0.4, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip
    return figure


def _seeds(rows: Sequence[Mapping[str, Any]], narrow: bool) -> Figure:
    """AP of every run: a row for each backbone of an arm, its fine-tunings as dots, their mean a stroke."""
    height = 0.8 + 0.3 * len(rows)
    figure = Figure(figsize=(3.7 if narrow else 7.4, height), layout="constrained")
    axes = figure.subplots()
    for at, row in enumerate(rows):
        units = row["units"]
        step = 0.6 / max(len(units), 2)
        for i, unit in enumerate(units):
            place = at + step * (i - (len(units) - 1) / 2)
            values = [row["AP"][j] for j in unit if row["AP"][j] is not None]
            axes.plot(values, [place] * len(values), "o", color=BLUE, markersize=3.6, alpha=0.8)
            if len(values) > 1:
                axes.plot(sum(values) / len(values), place, "|", color=INK, markersize=9)
        if (mean := row["levels"]["AP"]["value"]) is not None:
            axes.plot([mean, mean], [at - 0.36, at + 0.36], color=MUTED, linewidth=1)
    _names(axes, rows)
    axes.set_xlabel("AP of single runs, %")
    return figure
