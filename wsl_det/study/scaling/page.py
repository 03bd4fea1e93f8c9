"""scaling.html: figures, slopes and tests of a study on one self-contained page; all data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det.core import files, pages
from wsl_det.core.figures import Drawing
from wsl_det.study.scaling import content as made
from wsl_det.study.scaling import figures, words
from wsl_det.study.scaling.entries import Study


def write(study: Study, folder: Path) -> tuple[Path, list[str]]:
    """Write scaling.json, .html, and each figure as SVG and PNG; the page's path and what it says.

    Raises what ``content.collect`` raises, before anything is written.
    """
    content = made.collect(study)
    drawn = figures.draw(content)
    names = [f"scaling_{i + 1}_{figure['kind']}" for i, figure in enumerate(content["figures"])]
    page = render(content, drawn)
    files.write_json(folder / "scaling.json", content)
    for name, one in zip(names, drawn, strict=True):
        files.write_text(folder / f"{name}.svg", one.svg)
        files.write_bytes(folder / f"{name}.png", one.png)
    files.write_text(folder / "scaling.html", page)
    told = [
        f"{panel['title']}, {panel['axis']}: {text}"
        for figure in content["figures"]
        for panel in figure["panels"]
        for text in panel["words"]
    ]
    return folder / "scaling.html", told


def render(content: Mapping[str, Any], drawn: Sequence[Drawing]) -> str:
    """The page of scaling.json's content."""
    page = pages.load("page.html", Path(__file__).parent, protocol=words.protocol)
    return page.render(content=content, pictures=drawn, notes=_notes(content))


def _notes(content: Mapping[str, Any]) -> list[list[list[str]]]:
    """The notes of each panel of each figure, without what the page has said before."""
    said: set[str] = set()
    found: list[list[list[str]]] = []
    for figure in content["figures"]:
        found.append([])
        for panel in figure["panels"]:
            found[-1].append([text for text in panel["notes"] if text not in said])
            said.update(panel["notes"])
    return found
