"""The Zipf plot of an audit: how often, against rank, both in powers of ten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from wsl_det.core import figures
from wsl_det.core.figures import Drawing

Curve = tuple[str, Sequence[int]]  # colour, and numbers in descending order
_POINTS = 240


def zipf(curves: Sequence[Curve]) -> Drawing:
    """The curves for a page."""
    return figures.drawing("zipf", curves, _draw)


def _draw(curves: Sequence[Curve], narrow: bool) -> Figure:
    figure = Figure(figsize=(3.6, 2.9) if narrow else (7, 3), layout="constrained")
    axes = figure.subplots()
    for colour, numbers in curves:
        # Ranks spread evenly in logarithms, the first and the last among them.
        ranks = np.unique(np.geomspace(1, max(len(numbers), 1), _POINTS).round().astype(int))
        shown = [rank for rank in ranks if rank <= len(numbers) and numbers[rank - 1] > 0]
        # A single class has a place but no line.
        mark = "o" if len(shown) == 1 else None
        axes.plot(shown, [numbers[rank - 1] for rank in shown], color=colour, lw=1.8, marker=mark)
    most = max((numbers[0] for _, numbers in curves if numbers), default=1)
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="how often")
    axes.set(xlim=(1, _decade(max(len(numbers) for _, numbers in curves))), ylim=(1, _decade(most)))
    figures.bare(axes, "both")
    return figure


def _decade(number: int) -> int:
    """The power of ten at or above a number, 10 at least."""
    return int(10 ** max(1, np.ceil(np.log10(max(number, 1)))))
