"""capacities.html: the table of capacities on one self-contained page; all data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from wsl_det.core import files
from wsl_det.gain import template, verdict
from wsl_det.study import capacities, capacities_figure
from wsl_det.study.capacities import IOU_TYPES, Entry
from wsl_det.study.capacities_figure import Bars

_TITLES = {"bbox": "Boxes", "segm": "Masks"}


def write(title: str, entries: Sequence[Entry], folder: Path) -> Path:
    """Write capacities.json, .html, and a figure of each IoU type as SVG and PNG; the page's path.

    Raises what ``capacities.collect`` raises, before anything is written.
    """
    content = capacities.collect(title, entries)
    drawn = {name: capacities_figure.draw(content[name]) for name in IOU_TYPES if name in content}
    page = render(content, drawn)
    files.write_json(folder / "capacities.json", content)
    for name, bars in drawn.items():
        files.write_text(folder / f"capacities_{name}.svg", bars.svg)
        files.write_bytes(folder / f"capacities_{name}.png", bars.png)
    files.write_text(folder / "capacities.html", page)
    return folder / "capacities.html"


def render(content: Mapping[str, Any], drawn: Mapping[str, Bars]) -> str:
    """The page of capacities.json's content."""
    page = template.load("capacities.html", folder=Path(__file__).parent, plain=_plain, signed=verdict.signed)
    # The figures are ours: matplotlib has escaped the names in them.
    figures = {name: (Markup(bars.wide), Markup(bars.narrow)) for name, bars in drawn.items()}
    return page.render(content=content, figures=figures, titles=_TITLES, meta=content["meta"])


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
