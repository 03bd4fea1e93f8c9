"""cross.html: the 2x2 tables of cross-scoring on one self-contained page; all data is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsl_det.core import pages
from wsl_det.core.words import signed
from wsl_det.gain import verdict
from wsl_det.gain.cross_table import METRICS

_TITLES = {"bbox": "Boxes", "segm": "Masks"}


def render(content: Mapping[str, Any]) -> str:
    """The page of cross.json's content."""
    iou_types = [name for name in _TITLES if name in content]
    page = pages.load("cross.html", Path(__file__).parent)
    return page.render(
        meta=content["meta"],
        first=content["meta"]["names"]["baseline"],
        second=content["meta"]["names"]["candidate"],
        tables=[(_TITLES[t], metric, _walk(content[t][metric])) for t in iou_types for metric in METRICS],
        keys=[(_TITLES[t], content[t]["AP"]) for t in iou_types],
        headline=headline(content),
        facts=[(name, list(_facts(side, ""))) for name, side in content["meta"]["sides"].items()],
    )


def headline(content: Mapping[str, Any]) -> str:
    """One sentence on where the gain in AP comes from; it claims no more than the intervals."""
    iou_type = next(name for name in _TITLES if name in content)
    one = content[iou_type]["AP"]
    what = verdict.WHAT[iou_type]
    if one["gain"]["value"] is None:
        return f"The gain in {what} is undefined: there are no objects to score."
    gain = signed(one["gain"]["value"])
    sure = [part for part in ("recognition", "localization") if _is_sure(one[part])]
    if len(sure) == 2:
        reason = "both the heads and the boxes have a share that stands out from chance"
    elif sure:
        whose = "heads" if sure == ["recognition"] else "boxes"
        reason = f"only the share of the {whose} ({sure[0]}) stands out from chance"
    else:
        reason = "neither the share of the heads nor that of the boxes stands out from chance"
    return f"Of the {gain} points of {what} between the two detectors, {reason}."


def _is_sure(part: Mapping[str, Any]) -> bool:
    low, high = part["interval"]
    return low is not None and (low > 0 or high < 0)


def _walk(one: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the steps between its neighbouring cells: exchange the head, exchange the boxes."""
    cells = one["cells"]
    values = [cell["value"] for cell in cells]
    steps = {
        "head_first": _step(values[0], values[1]),
        "head_second": _step(values[2], values[3]),
        "boxes_first": _step(values[0], values[2]),
        "boxes_second": _step(values[1], values[3]),
    }
    return {**one, "cells": cells, "steps": steps}


def _step(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


def _facts(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _facts(value, f"{prefix}{key} ")
        elif value is not None:
            rows.append((f"{prefix}{key}".replace("_", " "), str(value)))
    return rows
