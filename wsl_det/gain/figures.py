"""The figures of the report: drawn once, as SVG for the page (wide and narrow) and as PNG beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from wsl_det.core.figures import BLUE, GREY, INK, MUTED, OCHRE, Drawing, bare, drawing, hit
from wsl_det.core.pages import printable
from wsl_det.core.words import plain, short, signed, span

BASELINE, CANDIDATE = GREY, BLUE
RECOGNITION, LOCALIZATION = BLUE, OCHRE


def draw(content: dict[str, Any]) -> dict[str, Drawing]:
    """The figures of gain.json's content by name: curve, factors, of each IoU type, others where made."""
    names = content["meta"]["names"]
    kinds: dict[str, Callable[[dict[str, Any], bool], Figure]] = {
        "asked": partial(_bars, names),
        "curve": partial(_curve, names),
        "factors": _factors,
        "attribution": _attribution,
        "hashtags": _hashtags,
    }
    return {
        f"{kind}_{iou_type}": drawing(f"{kind}_{iou_type}", content[iou_type], make)
        for iou_type in ("bbox", "segm")
        for kind, make in kinds.items()
        if iou_type in content and (kind not in ("attribution", "hashtags") or kind in content[iou_type])
    }


def _size(narrow: bool, wide_height: float, narrow_height: float) -> tuple[float, float]:
    return (3.7, narrow_height) if narrow else (7.4, wide_height)


def _bars(names: dict[str, str], record: dict[str, Any], narrow: bool) -> Figure:
    """AP, AP@50 and AP@75 of both sides beside each other, as the paper draws them."""
    figure = Figure(figsize=_size(narrow, 2.3, 2.4), layout="constrained")
    axes = figure.subplots()
    rows = record["asked"]["metrics"]
    for shift, side, color in ((-0.19, "baseline", BASELINE), (0.19, "candidate", CANDIDATE)):
        for i, row in enumerate(rows.values()):
            if row[side] is not None:
                axes.bar(i + shift, row[side], width=0.34, color=color, linewidth=0)
                axes.annotate(plain(row[side]), (i + shift, row[side]), (0, 2), textcoords="offset points",
                              ha="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_xticks(range(len(rows)), [name.replace("AP5", "AP@5").replace("AP7", "AP@7") for name in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    bare(axes, "y")
    _legend(figure, _sides(names))
    return figure


def _sides(names: dict[str, str]) -> dict[str, str]:
    # A dollar would begin a formula.
    shown = {side: printable(name).replace("$", "\\$")[:60] for side, name in names.items()}
    return {shown["baseline"]: BASELINE, shown["candidate"]: CANDIDATE}


def _curve(names: dict[str, str], record: dict[str, Any], narrow: bool) -> Figure:
    figure = Figure(figsize=_size(narrow, 3.0, 5.1), layout="constrained")
    left, right = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    rows = record["curve"]
    iou = [row["iou"] for row in rows]
    _absolute(left, iou, rows)
    _relative(right, iou, rows)
    for row in rows:
        at, where = f"IoU {row['iou']:.2f}", (row["iou"] - 0.025, row["iou"] + 0.025)
        shown = ", ".join(
            f"{printable(names[side], 60)} {plain(row[side])}" for side in ("baseline", "candidate")
        )
        gain = f"gain {signed(row['gain'])} ({span(row['interval'])})"
        hit(left, f"{at}: {shown}, {gain}", x=where)
        share = "not shown" if row["relative"] is None else f"{signed(100 * row['relative'], 0)}%"
        hit(right, f"{at}: relative gain {share}, {gain}", x=where)
    for axes in (left, right):
        bare(axes, "y")
        axes.set_xticks(iou[::2], [f"{x:.1f}" for x in iou[::2]])
        axes.set_xlabel("IoU threshold")
    _legend(figure, _sides(names))
    return figure


def _legend(figure: Figure, colors: dict[str, str]) -> None:
    """Dots and names above the axes, at the left."""
    handles = [
        Line2D([], [], linestyle="", marker="o", color=color, markersize=5) for color in colors.values()
    ]
    figure.legend(handles, list(colors), loc="outside upper left", ncols=2, frameon=False,
                  handletextpad=0.1, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip


def _absolute(axes: Axes, iou: list[float], rows: list[dict[str, Any]]) -> None:
    axes.set_title("AP at each IoU", pad=8)
    for name, color, width in (("baseline", BASELINE, 1.6), ("candidate", CANDIDATE, 2.0)):
        values = [np.nan if row[name] is None else row[name] for row in rows]
        axes.plot(
            iou, values, color=color, linewidth=width, marker="o", markersize=3.2, solid_capstyle="round"
        )
    axes.set_xlim(iou[0] - 0.02, iou[-1] + 0.02)
    axes.set_ylim(bottom=0)


def _relative(axes: Axes, iou: list[float], rows: list[dict[str, Any]]) -> None:
    axes.set_title("Gain relative to the baseline, %", pad=8)
    shown = [(x, row) for x, row in zip(iou, rows, strict=True) if row["relative"] is not None]
    axes.axhline(0, color=MUTED, linewidth=0.9)
    axes.set_xlim(iou[0] - 0.02, iou[-1] + 0.02)
    if not shown:
        axes.text(0.5, 0.5, "AP of the baseline is under 1 everywhere", transform=axes.transAxes, ha="center")
        return
    x = [x for x, _ in shown]
    band = np.array([[100 * bound / row["baseline"] for bound in row["interval"]] for _, row in shown])
    axes.fill_between(x, band[:, 0], band[:, 1], color=CANDIDATE, alpha=0.14, linewidth=0)
    axes.plot(
        x,
        [100 * row["relative"] for _, row in shown],
        color=CANDIDATE,
        linewidth=2,
        marker="o",
        markersize=3.2,
    )


def _factors(record: dict[str, Any], narrow: bool) -> Figure:
    figure = Figure(figsize=_size(narrow, 1.95, 2.5), layout="constrained")
    axes = figure.subplots()
    names, places = [], []
    for i, tau in enumerate(("0.1", "0.3", "0.5")):
        split = record["two_factor"][tau]
        for part, color, shift in (("recognition", RECOGNITION, -0.17), ("localization", LOCALIZATION, 0.17)):
            _whisker(axes, i + shift, split[part], split["interval"][part], color, strong=tau == "0.1")
            said = f"Split at an IoU of {tau}: {part} {signed(split[part])} ({span(split['interval'][part])})"
            hit(axes, said, y=(i + shift - 0.17, i + shift + 0.17))
        names.append(f"split at IoU {tau}")
        places.append(i)
    axes.set_yticks(places, names)
    axes.get_yticklabels()[0].set_color(INK)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(2.6, -0.6)
    _from_zero(axes)
    _legend(figure, {"recognition": RECOGNITION, "localization": LOCALIZATION})
    return figure


def _attribution(record: dict[str, Any], narrow: bool) -> Figure:
    figure = Figure(figsize=_size(narrow, 2.3, 2.6), layout="constrained")
    axes = figure.subplots()
    kinds = list(record["attribution"])
    for i, kind in enumerate(kinds):
        share = record["attribution"][kind]
        color = LOCALIZATION if kind == "localization" else RECOGNITION
        if share["gain"] is not None:
            axes.barh(i, share["gain"], height=0.5, color=color, alpha=0.28, linewidth=0)
        _whisker(axes, i, share["gain"], share["interval"], color, strong=True)
        hit(axes, f"{kind}: {signed(share['gain'], 2)} ({span(share['interval'], 2)})", y=(i - 0.5, i + 0.5))
    axes.set_yticks(range(len(kinds)), kinds, color=INK)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    _from_zero(axes)
    return figure


def _hashtags(record: dict[str, Any], narrow: bool) -> Figure:
    """Gain in AP@.1 of each class against its hashtags; dots grow with test images."""
    figure = Figure(figsize=_size(narrow, 3.3, 3.3), layout="constrained")
    axes = figure.subplots()
    rows = [row for row in record["hashtags"]["by_class"] if None not in (row["gain"], row["hashtags"])]
    x = np.log10(1 + np.array([row["hashtags"] for row in rows]))
    y = np.array([row["gain"] for row in rows])
    images = np.array([row["images"] for row in rows], dtype=float)
    covered = np.array([row["covered"] for row in rows], dtype=bool)
    axes.axhline(0, color=MUTED, linewidth=0.9)
    if rows:
        area = np.clip(110 * images / images.max(), 14, None)
        for part, color in ((covered, CANDIDATE), (~covered, BASELINE)):
            axes.scatter(x[part], y[part], s=area[part], color=color, alpha=0.55, linewidths=0)
        wide, high = 0.012 * (np.ptp(x) or 1), 0.025 * (np.ptp(y) or 1)
        for row, at, value in zip(rows, x, y, strict=True):
            text = (
                f"{printable(row['name'], 60)}: {row['hashtags']:,.0f} hashtags, gain in AP@.1 "
                f"{signed(row['gain'])} from {plain(row['baseline'])}, {row['images']} test images"
            )
            field = Rectangle((at - wide, value - high), 2 * wide, 2 * high)
            axes.add_patch(field)
            field.set(alpha=0, gid=f"hit:{text}")
    top = int(np.ceil(x.max(initial=1)))
    axes.set_xticks(np.log10([1, *(1 + 10.0**k for k in range(top + 1))]),
                    ["0", *(short(10**k) for k in range(top + 1))])  # fmt: skip
    axes.set(xlabel="hashtags of the class in pretraining", ylabel="gain in AP@.1")
    bare(axes, "y")
    _legend(figure, {"in the vocabulary": CANDIDATE, "not in it": BASELINE})
    return figure


def _whisker(
    axes: Axes, y: float, value: float | None, interval: list[float | None], color: str, *, strong: bool
) -> None:
    if value is None or interval[0] is None or interval[1] is None:
        return
    alpha = 1.0 if strong else 0.55
    axes.plot(
        [interval[0], interval[1]], [y, y], color=color, linewidth=1.8, alpha=alpha, solid_capstyle="round"
    )
    axes.plot(
        [value],
        [y],
        "o",
        color=color,
        markersize=5.5,
        alpha=alpha,
        markeredgecolor="white",
        markeredgewidth=0.8,
    )
    edge = max(interval[1], value)
    axes.annotate(signed(value), (edge, y), (5, 0), textcoords="offset points", va="center", fontsize=8,
                  color=color if strong else MUTED)  # fmt: skip


def _from_zero(axes: Axes) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
    bare(axes, "x")
    axes.spines["bottom"].set_visible(False)
    low, high = axes.get_xlim()
    reach = max(high, -low, 0.5)
    # Room for the value at the end of the longest whisker.
    axes.set_xlim(min(low, -0.06 * reach), max(high, 0) + 0.14 * (max(high, 0) - min(low, 0) or 1))
    axes.set_xlabel("points of AP")
