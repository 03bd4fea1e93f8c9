"""capacities.html: the table of capacities on one self-contained page; all data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det.core import files, pages
from wsl_det.core.figures import Drawing
from wsl_det.study import capacities, capacities_figure
from wsl_det.study.capacities import IOU_TYPES, Entry

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


def render(content: Mapping[str, Any], drawn: Mapping[str, Drawing]) -> str:
    """The page of capacities.json's content."""
    page = pages.load("capacities.html", Path(__file__).parent)
    return page.render(content=content, figures=drawn, titles=_TITLES, meta=content["meta"])
