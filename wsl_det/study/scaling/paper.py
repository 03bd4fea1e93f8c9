"""The paper's own Figures 1 to 5 as points, with how each number was read (paper.yaml beside this file)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from wsl_det.core import yaml_files
from wsl_det.study.scaling import entries
from wsl_det.study.scaling.points import Point

_FILE = Path(__file__).parent / "paper.yaml"
_FIXED = ("target", "capacity", "pretraining", "vocabulary", "images", "sampling", "noise")


@cache
def _tree() -> dict[str, Any]:
    tree: dict[str, Any] = yaml_files.read(_FILE)
    return tree


def source(figure: int) -> str:
    """Where the points of a figure come from, in words: authors, figure, how the numbers were read."""
    facts = _tree()["figures"][str(figure)]
    how = "numbers printed in it"
    if facts["read"] == "digitised":
        how = f"digitised from it, ±{facts['error']:g} points"
    return f"{_tree()['source']}, Figure {figure}: {how}. {facts['note']}"


def points(figure: int) -> list[Point]:
    """The points of the paper's Figure 1 to 5; top-1 accuracy in percent, ``reading`` its reading error."""
    facts = _tree()["figures"][str(figure)]
    found = []
    for row in facts["rows"]:
        for where, given in row["values"].items():
            what: dict[str, Any] = {key: row.get(key, facts.get(key)) for key in _FIXED} | {
                facts["over"]: where
            }
            what |= _tree()["sets"].get(what["pretraining"], {})
            what |= {"images": entries.count(what["images"]), "noise": float(what["noise"] or 0)}
            what |= {"metric": "top1", "value": (value := float(given)), "runs": (value,), "errors": (None,)}
            found.append(Point(**what, protocol=facts["protocol"], paper=figure, reading=facts.get("error")))
    return found
