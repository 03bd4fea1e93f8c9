"""Level 4 of the gain report: the 2x2 table of boxes and heads, and its split of the gain by experiment.

v(x, y) is the AP of the boxes of detector x scored by the head of detector y. The gain is
v(B, B) - v(A, A); its Shapley split over the two exchanges is

    recognition  = ((v(A, B) - v(A, A)) + (v(B, B) - v(B, A))) / 2      exchange the head
    localization = ((v(B, A) - v(A, A)) + (v(B, B) - v(A, B))) / 2      exchange the boxes

They add to the gain exactly. The interaction v(B, B) - v(A, B) - v(B, A) + v(A, A) says how much the
two depend on each other; the split gives half of it to each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det import predictions
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import files, log, provenance
from wsl_det.errors import ConfigError, DataError
from wsl_det.evaluation import coco_ap, detections, matching
from wsl_det.evaluation.match_table import MatchTable
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.gain import estimates, groups, inputs, measures, resamples
from wsl_det.gain.estimates import Estimate, Runs
from wsl_det.predictions import Predictions

SCHEMA = 1
METRICS = ("AP", "AP50")
ONE_RUN = Runs(np.zeros(1))
PARTS = ("gain", "recognition", "localization", "interaction")
Cells = Mapping[tuple[str, str], str | Path]
"""(whose boxes, whose head) -> predictions file."""


@dataclass(frozen=True)
class Options:
    """Resamples of the images for the intervals, and their seed."""

    bootstrap: int = 1000
    seed: int = 0


def make(
    gt: str | Path,
    cells: Cells,
    names: tuple[str, str],
    options: Options | None = None,
    protocol: str | None = None,
) -> dict[str, Any]:
    """The content of cross.json; ``names`` are baseline and candidate, ``cells`` the four files by them.

    For each IoU type that all four carry: AP and AP50 of the cells, and the parts of the gain, each
    with an interval by ``estimates`` over resamples of the images that all cells share. Raises DataError
    for files that are not what they should be.
    """
    options = options or Options()
    if options.bootstrap != 0 and options.bootstrap < 2:
        raise ConfigError(f"--bootstrap is {options.bootstrap}; expected 2 or more, or 0 for no intervals")
    truth = inputs.ground_truth(gt, protocol)
    found = {key: predictions.read(path) for key, path in cells.items()}
    shared = [
        t for t in coco_ap.IOU_TYPES if all(t in coco_ap.choose(p, truth, None) for p in found.values())
    ]
    if not shared:
        raise DataError("the four predictions files share no IoU type: boxes in all of them are the least")
    weights = resamples.multiplicities(len(truth.image_ids), options.bootstrap, options.seed)
    content: dict[str, Any] = {t: _table(found, truth, t, names, weights) for t in shared}
    made_from = {f"boxes {x}, head {y}": path for (x, y), path in cells.items()}
    uneven = _uneven(content, len(truth.image_ids))
    content["meta"] = {
        **provenance.header("cross", SCHEMA, {"gt": gt, **made_from}),
        "names": {"baseline": names[0], "candidate": names[1]},
        "protocol": protocols.of(truth).name,
        "images": len(truth.image_ids),
        "objects": int(truth.object_counts.sum()),
        "options": {"bootstrap": options.bootstrap, "seed": options.seed},
        "notes": [
            "training-seed variance is not in these intervals: each side is one trained detector",
            *uneven,
        ],
        "sides": {name: _side(found[name, name].meta) for name in names},
    }
    return content


def split(cells: np.ndarray) -> np.ndarray:
    """(4, ...) gain, recognition, localization, interaction of (2, 2, ...) values: boxes, then heads."""
    (aa, ab), (ba, bb) = cells
    recognition = ((ab - aa) + (bb - ba)) / 2
    localization = ((ba - aa) + (bb - ab)) / 2
    return np.stack([bb - aa, recognition, localization, bb - ab - ba + aa])


def _table(
    found: Mapping[tuple[str, str], Predictions],
    truth: GroundTruth,
    iou_type: str,
    names: tuple[str, str],
    weights: np.ndarray,
) -> dict[str, Any]:
    shapes = matching.object_shapes(truth, iou_type)
    points, replicates = [], []
    for boxes in names:
        for head in names:
            one = found[boxes, head]
            table = matching.match_aligned(detections.align(one, truth, iou_type), shapes, truth, iou_type)
            points.append(measures.columns(table)[:, 0])
            replicates.append(_replicates(table, weights, f"{iou_type} {boxes}/{head}"))
    layout = measures.Layout(table)
    of_classes = (replicates[-1] - replicates[0])[layout.classes]
    images = weights.shape[0]
    widen = estimates.widening(of_classes, groups.images_of_classes(table), images)
    sure = partial(estimates.estimate, a=ONE_RUN, b=ONE_RUN, images=images, widen=widen)
    # (cells, numbers, ...) -> by number (2, 2, ...), boxes first.
    value = np.stack(points).reshape(2, 2, layout.size)
    resampled = np.stack(replicates).reshape(2, 2, layout.size, -1)
    rows = {name: layout.metrics[name] for name in METRICS}
    return {name: _record(value[:, :, i], resampled[:, :, i], names, sure) for name, i in rows.items()}


def _uneven(content: Mapping[str, Any], images: int) -> list[str]:
    """A note on intervals that do not have their value near the middle; none where all have."""
    tables = [table[metric] for table in content.values() for metric in METRICS]
    every = [one for t in tables for one in [*t["cells"], *(t[part] for part in PARTS)]]
    sure = [(one["value"], *one["interval"]) for one in every if one["interval"][0] is not None]
    off = [value - (low + high) / 2 for value, low, high in sure if not _in_middle_third(value, low, high)]
    if not off:
        return []
    return [
        f"{len(off)} of {len(sure)} intervals do not have their value in the middle (it is up to "
        f"{max(off, key=abs):+.1f} points from there): a resample of {images} images repeats some and lacks "
        "others, which by itself changes AP; the intervals stand where the resamples lie and are not moved"
    ]


def _in_middle_third(value: float, low: float, high: float) -> bool:
    return abs(value - (low + high) / 2) <= (high - low) / 6


def _replicates(table: MatchTable, weights: np.ndarray, what: str) -> np.ndarray:
    if not weights.shape[1]:
        return np.empty((measures.Layout(table).size, 0))
    return measures.columns(table, weights, track=partial(log.progress, what=what))


def _record(
    value: np.ndarray, resampled: np.ndarray, names: tuple[str, str], sure: Callable[..., Estimate]
) -> dict[str, Any]:
    def found(value: float, resampled: np.ndarray) -> dict[str, Any]:
        return {"value": coco_ap.number(float(value)), "interval": sure(float(value), resampled).record()}

    cells = [
        {"boxes": names[x], "head": names[y], **found(value[x, y], resampled[x, y])}
        for x in range(2)
        for y in range(2)
    ]
    parts, part_resampled = split(value), split(resampled)
    return {
        "cells": cells,
        **{name: found(parts[i], part_resampled[i]) for i, name in enumerate(PARTS)},
    }


def _side(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    kept = ("weights", "backbone", "engine", "sweep")
    return {key: meta.get(key) for key in kept} if meta else {}


def lines(content: Mapping[str, Any]) -> list[str]:
    """The tables and their splits for a terminal."""
    first, second = content["meta"]["names"].values()
    width = max(len(first), len(second), 9)
    text = [protocols.PROTOCOLS[content["meta"]["protocol"]].said]
    for iou_type in (name for name in coco_ap.IOU_TYPES if name in content):
        for metric in METRICS:
            one = content[iou_type][metric]
            shown = [_shown(cell["value"]) for cell in one["cells"]]
            text.append(f"{iou_type} {metric:<5} head of:  {first:>{width}}  {second:>{width}}")
            text.append(f"  boxes of {first:<{width}}  {shown[0]:>{width}}  {shown[1]:>{width}}")
            text.append(f"  boxes of {second:<{width}}  {shown[2]:>{width}}  {shown[3]:>{width}}")
            text.append("  " + "; ".join(f"{part} {_signed(one[part])}" for part in PARTS))
    return text


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _signed(part: Mapping[str, Any]) -> str:
    if part["value"] is None:
        return "undefined"
    low, high = part["interval"]
    interval = "" if low is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{part['value']:+.2f}{interval}"


def write(content: Mapping[str, Any], folder: Path, page: str) -> Path:
    """Write cross.json and cross.html into ``folder``; the page's path."""
    files.write_json(folder / "cross.json", content)
    files.write_text(folder / "cross.html", page)
    return folder / "cross.html"
