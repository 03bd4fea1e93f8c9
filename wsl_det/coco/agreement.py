"""Whether boxes and masks of a file speak of the same pixels: corners and fractions pass for boxes."""

from __future__ import annotations

import numpy as np

from wsl_det.coco import shapes
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import log
from wsl_det.errors import DataError

_LOOKED_AT = 1000
_FEWEST = 3
_FEWEST_WITHOUT_MASKS = 10
_PIXELS = 2.0
_BOX = "bbox is [x, y, width, height] in pixels"


def check(truth: GroundTruth) -> None:
    """Refuse boxes that are corners or fractions of the image; warn of boxes that leave out their masks.

    Polygons are looked at on some 1,000 objects spread over the file. A handful of boxes proves nothing.
    """
    real = (truth.object_boxes_xywh[:, 2:] > 0).all(axis=1) & ~truth.object_crowd
    sized = np.flatnonzero(real & (truth.object_sizes().min(axis=1) > 8))
    if len(sized) >= _FEWEST:
        _check_against_images(truth, sized)
    looked, extents = _extents(truth, np.flatnonzero(real))
    if len(looked) >= _FEWEST:
        _check_against_polygons(truth, looked, extents)


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _check_against_images(truth: GroundTruth, objects: np.ndarray) -> None:
    boxes = truth.object_boxes_xywh[objects]
    corners = _corners(boxes)
    if np.abs(boxes).max() <= 1 and corners.max() <= 1.01:
        raise DataError(
            f"{truth.annotation(int(objects[0]))}: bbox {boxes[0].tolist()}, as all others, lies between 0 "
            f"and 1; they seem to be fractions of the image: {_BOX}"
        )
    size = truth.object_sizes()[objects][:, ::-1] + _PIXELS
    over = (corners[:, 2:] > size).any(axis=1)
    as_corners = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= size).all(axis=1)
    if len(boxes) >= _FEWEST_WITHOUT_MASKS and as_corners.all() and over.sum() > 0.5 * len(boxes):
        at = int(np.argmax(over))
        raise DataError(
            f"{truth.annotation(int(objects[at]))}: bbox {boxes[at].tolist()} reaches beyond its image, as "
            f"do {over.sum()} of {len(boxes)}, and all lie inside as [x0, y0, x1, y1]; {_BOX}: convert them"
        )


def _check_against_polygons(truth: GroundTruth, objects: np.ndarray, extents: np.ndarray) -> None:
    boxes = truth.object_boxes_xywh[objects]
    corners = _corners(boxes)
    slack = np.maximum(_PIXELS, 0.05 * (extents[:, 2:] - extents[:, :2]).max(axis=1))[:, None]
    as_boxes = (np.abs(corners - extents) <= slack).all(axis=1)
    as_corners = (np.abs(boxes - extents) <= slack).all(axis=1) & ~as_boxes
    if as_corners.sum() > 0.5 * len(objects):
        at = int(np.argmax(as_corners))
        raise DataError(
            f"{truth.annotation(int(objects[at]))}: bbox {boxes[at].tolist()} and its polygons agree only if "
            f"the box is [x0, y0, x1, y1], as with {as_corners.sum()} of {len(objects)} objects looked at; "
            f"{_BOX}: convert the boxes"
        )
    outside = ((corners - extents) * [1, 1, -1, -1] > slack).any(axis=1)
    if outside.sum() > 0.5 * len(objects):
        log.get("coco").warning(
            "%s: bbox %s does not enclose its polygons, as with %d of %d objects looked at; %s",
            truth.annotation(int(objects[np.argmax(outside)])),
            boxes[np.argmax(outside)].tolist(),
            outside.sum(),
            len(objects),
            _BOX,
        )


def _extents(truth: GroundTruth, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(objects looked at (N,), x0, y0, x1, y1 of their polygons (N, 4)); only those with sound polygons."""
    some = objects[:: max(1, len(objects) // _LOOKED_AT)]
    looked, extents = [], []
    for i, (height, width) in zip(some.tolist(), truth.object_sizes()[some].tolist(), strict=True):
        value = truth.segmentations[i]
        try:
            shape = shapes.parse(value, height, width) if isinstance(value, list) else None
        except shapes.BadShape:
            continue  # whoever needs masks says what is wrong with this one
        parts = [part.reshape(-1, 2) for part in shape or [] if len(part) >= 6]  # type: ignore[union-attr]
        if parts:
            points = np.concatenate(parts)
            looked.append(i)
            extents.append([*points.min(axis=0), *points.max(axis=0)])
    return np.array(looked, dtype=np.int64), np.array(extents).reshape(-1, 4)
