"""The paper's own Figures 1 to 5 as points, with how each number was read (paper.yaml beside this file)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from wsl_det.study.scaling import entries
from wsl_det.study.scaling.points import Point

_FILE = Path(__file__).parent / "paper.yaml"
_FIXED = ("target", "capacity", "pretraining", "vocabulary", "images")


@cache
def _tree() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return tree


def source(figure: int) -> str:
    """Where the points of a figure come from, in words: authors, figure, how the numbers were read."""
    facts = _tree()["figures"][figure]
    how = "numbers printed in it"
    if facts["read"] == "digitised":
        how = f"digitised from it, ±{facts['error']:g} points"
    return f"{_tree()['source']}, Figure {figure}: {how}. {facts['note']}"


def points(figure: int) -> list[Point]:
    """The points of the paper's Figure 1 to 5; top-1 accuracy in percent, ``reading`` its reading error."""
    facts = _tree()["figures"][figure]
    found = []
    for row in facts["rows"]:
        fixed = {key: row.get(key, facts.get(key)) for key in _FIXED}
        for at, value in row["values"].items():
            found.append(_point(figure, facts, {**fixed, facts["over"]: at}, float(value)))
    return found


def _point(figure: int, facts: dict[str, Any], what: dict[str, Any], value: float) -> Point:
    what = what | _tree()["sets"].get(what["pretraining"], {})
    return Point(
        target=what["target"],
        metric="top1",
        capacity=what["capacity"],
        value=value,
        protocol=facts["protocol"],
        images=entries.count(what["images"]),
        vocabulary=what["vocabulary"],
        sampling=what.get("sampling"),
        noise=float(what.get("noise", 0)),
        pretraining=what["pretraining"],
        runs=(value,),
        errors=(None,),
        paper=figure,
        reading=facts.get("error"),
    )
