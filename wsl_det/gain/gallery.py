"""Images in which the candidate wins and loses most, side by side, embedded in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsl_det.coco import masks as mask_runs
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import photos
from wsl_det.errors import DataError
from wsl_det.evaluation import matching
from wsl_det.evaluation.match_table import FIRST_COCO, TRUE, MatchTable
from wsl_det.gain.compared import Compared
from wsl_det.predictions import Predictions

SHOTS = 4
"""Images of wins, and as many of losses."""
SIDE = 520
"""Longest side of an embedded picture, in pixels."""
FOUND, FALSE_ALARM, MISSED = "#2f9e5b", "#e0503a", "#f2c230"


@dataclass(frozen=True)
class Shown:
    """The detections of one side that the gallery shows: as many as there are objects, best first."""

    table: MatchTable
    run: Predictions
    chosen: np.ndarray
    true: np.ndarray

    def balance(self) -> np.ndarray:
        """(I,) found minus false detections of each image."""
        change = np.where(self.true, 1, -1)[self.chosen]
        return np.bincount(self.table.image[self.chosen], weights=change, minlength=self.table.num_images)


def choose(report: Compared, folder: str | Path) -> list[dict[str, Any]]:
    """The shots of the gallery, wins first; images that cannot be read are passed over.

    Ranked by how the count of found objects minus false detections differs between the sides (first
    run each) at IoU 0.5. Raises DataError when the folder has none of the images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"image folder {folder} does not exist; --images names the folder of the test images")
    iou_type = report.iou_types()[0]
    sides = [_shown(runs[0], report.truth, iou_type) for runs in (report.baseline, report.candidate)]
    lead = sides[1].balance() - sides[0].balance()
    order = np.argsort(-lead, kind="stable")
    shots = []
    for title, ranked in (("The candidate wins", order), ("The candidate loses", order[::-1])):
        wanted = [i for i in ranked if (lead[i] > 0 if "wins" in title else lead[i] < 0)]
        shots += _take(wanted, title, report, sides, folder)
    if not shots and np.any(lead != 0):
        raise DataError(f"none of the images named in {report.truth.source} can be read in {folder}")
    return shots


def _take(
    wanted: list[int], title: str, report: Compared, sides: list[Shown], folder: Path
) -> list[dict[str, Any]]:
    shots: list[dict[str, Any]] = []
    for i in wanted:
        if len(shots) == SHOTS:
            break
        name = report.truth.file_names[i]
        picture = None if name is None else _thumbnail(folder, name)
        if picture is not None:
            shots.append(_shot(i, title, report.truth, sides, picture))
    return shots


def _shown(run: Predictions, truth: GroundTruth, iou_type: str) -> Shown:
    table = matching.match(run, truth, iou_type)
    best = np.argsort(-table.score, kind="stable")[: int(table.counts[0].sum())]
    status = table.status[0, FIRST_COCO]
    # What a crowd absorbs is neither found nor false.
    chosen = best[status[best] != 2]
    return Shown(table, run, chosen, status == TRUE)


def _thumbnail(folder: Path, name: str) -> tuple[str, float, int, int] | None:
    """(data URL, scale, width, height) of a picture upright; None for one that ``photos`` refuses."""
    try:
        with photos.opened(photos.below(folder, name)) as file:
            picture = photos.rgb(file)
    except photos.BadImage:
        return None
    scale = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    data = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", scale, *size


def _shot(
    i: int, title: str, truth: GroundTruth, sides: list[Shown], picture: tuple[str, float, int, int]
) -> dict[str, Any]:
    data, scale, width, height = picture
    panes = [
        _pane(label, i, truth, side, scale)
        for label, side in zip(("Baseline", "Candidate"), sides, strict=True)
    ]
    return {
        "id": f"image{i}",
        "title": title,
        "name": truth.file_names[i],
        "data": data,
        "width": width,
        "height": height,
        "stroke": round(max(width, height) / 190, 2),
        "panes": panes,
        "rule": (
            "The images that differ most in objects found minus false detections, at an IoU of 0.5; "
            f"each side shows as many of its best detections as the whole set has objects, "
            f"{int(sides[0].table.counts[0].sum())}. Point at a box for its class and score."
        ),
    }


def _pane(label: str, i: int, truth: GroundTruth, side: Shown, scale: float) -> dict[str, Any]:
    table = side.table
    here = side.chosen[table.image[side.chosen] == i]
    names = np.repeat(np.arange(table.num_classes), np.diff(table.class_starts))
    found = set(table.matched[FIRST_COCO, here].tolist())
    objects = np.flatnonzero((truth.object_image == i) & table.counts[0])
    missed = [o for o in objects if o not in found]
    shapes = [
        _rectangle(
            truth.object_boxes_xywh[o], scale, MISSED, truth.class_names[truth.object_class[o]], dashed=True
        )
        for o in missed
    ]
    boxes = _boxes(side.run, table.row[here], truth.image_sizes[i])
    for d, box in zip(here, boxes, strict=True):
        color = FOUND if side.true[d] else FALSE_ALARM
        text = f"{truth.class_names[names[d]]} {table.score[d]:.2f}"
        shapes.append(_rectangle(box, scale, color, text, dashed=False))
    true = int(side.true[here].sum())
    count = f"{true} found, {len(here) - true} false, {len(missed)} missed"
    return {"label": label, "boxes": shapes, "count": count}


def _boxes(run: Predictions, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N, 4) xywh of detections; of their masks where the predictions carry no boxes."""
    if run.boxes_xywh is not None:
        return run.boxes_xywh[rows]
    assert run.masks is not None, "predictions carry boxes or masks"
    return mask_runs.boxes([run.masks[i] for i in rows], np.tile(size, (len(rows), 1)))


def _rectangle(box: np.ndarray, scale: float, color: str, text: str, *, dashed: bool) -> dict[str, Any]:
    x, y, w, h = (round(float(v) * scale, 1) for v in box)
    return {"x": x, "y": y, "w": w, "h": h, "color": color, "text": text, "dashed": dashed}
