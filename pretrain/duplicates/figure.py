"""The calibration as a figure: recall of planted copies and share of class mates over the threshold."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

COLOURS = {
    "crop": "#c46a12",
    "flip": "#5c7f2b",
    "recompress": "#7a4fa3",
    "resize": "#0f7f86",
    "overlay": "#b0306a",
    "several": "#1d2530",
}
_MATES = "#8b95a3"
_LINE = "#a5371f"


def draw(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """An SVG with one panel a set; empty when nothing was planted."""
    shown = {name: one for name, one in sets.items() if one["kinds"]}
    if not shown:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.hashsalt": "wsl_det",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    with matplotlib.rc_context(style):
        canvas = Figure(figsize=(6.4, 2.9 * len(shown)), layout="constrained")
        axes = canvas.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axis, (name, one) in zip(axes, shown.items(), strict=True):
            _panel(axis, name, one)
        packed = io.StringIO()
        canvas.savefig(packed, format="svg", transparent=True, metadata={"Date": None})
    # Inside a page the picture needs neither a prologue nor matplotlib's card with its address.
    return re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", packed.getvalue(), flags=re.DOTALL)


def _panel(axis: Any, name: str, one: Mapping[str, Any]) -> None:
    curve = one["curve"]
    at = [row["threshold"] for row in curve]
    mates = [row["same_class"] for row in curve]
    if mates[0] is not None:
        axis.fill_between(at, mates, color=_MATES, alpha=0.45, lw=0, label="pairs of one class")
    for kind in one["kinds"]:
        axis.plot(at, [row["recall"][kind] for row in curve], color=COLOURS.get(kind), lw=1.5, label=kind)
    axis.axvline(one["threshold"], color=_LINE, lw=1, ls=(0, (4, 2)))
    axis.set(ylim=(0, 1.03), xlim=(at[0], at[-1]), ylabel="share at or above", xlabel="score")
    # A dollar sign in a folder's name would start a formula.
    axis.set_title(f"{name}: threshold {one['threshold']:.3f}".replace("$", r"\$"), loc="left", fontsize=9.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
