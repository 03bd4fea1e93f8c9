"""The calibration as a figure: recall of planted copies and share of class mates over the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_det.core.figures import GREY, INK, OCHRE, RED, Drawing, bare, drawing

COLOURS = {
    "crop": OCHRE,
    "flip": "#5c7f2b",
    "recompress": "#7a4fa3",
    "resize": "#0f7f86",
    "overlay": "#b0306a",
    "several": INK,
}


def draw(sets: Mapping[str, Mapping[str, Any]]) -> Drawing | None:
    """One panel a set of calibration.json; none when nothing was planted."""
    shown = {name: one for name, one in sets.items() if one["kinds"]}
    return drawing("calibration", shown, _sheet) if shown else None


def _sheet(shown: Mapping[str, Mapping[str, Any]], narrow: bool) -> Figure:
    width, height = (3.7, 3.4) if narrow else (6.4, 2.9)
    canvas = Figure(figsize=(width, height * len(shown)), layout="constrained")
    axes = canvas.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, (name, one) in zip(axes, shown.items(), strict=True):
        _panel(axis, name, one)
        beside = {"loc": "upper left", "bbox_to_anchor": (0, -0.22), "ncols": 2} if narrow else {
            "loc": "center left", "bbox_to_anchor": (1.01, 0.5)}  # fmt: skip
        axis.legend(frameon=False, fontsize=8, **beside)
    return canvas


def _panel(axis: Axes, name: str, one: Mapping[str, Any]) -> None:
    curve = one["curve"]
    at = [row["threshold"] for row in curve]
    mates = [row["same_class"] for row in curve]
    if mates[0] is not None:
        axis.fill_between(at, mates, color=GREY, alpha=0.45, lw=0, label="pairs of one class")
    for kind in one["kinds"]:
        axis.plot(at, [row["recall"][kind] for row in curve], color=COLOURS.get(kind), lw=1.5, label=kind)
    axis.axvline(one["threshold"], color=RED, lw=1, ls=(0, (4, 2)))
    axis.set(ylim=(0, 1.03), xlim=(at[0], at[-1]), ylabel="share at or above", xlabel="score")
    axis.set_title(f"{name}: threshold {one['threshold']:.3f}", fontsize=9.5)
    bare(axis, "y")
