"""Every detection with every object of its image, whatever their classes: what oracles need to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.evaluation import detections, matching
from wsl_det.evaluation.detections import Detections
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable
from wsl_det.evaluation.matching import ObjectShapes


@dataclass(frozen=True)
class ImagePairs:
    """Detections of one side by descending score over the whole set, with their overlaps.

    place: (D,) int64 in the match table. image, label: (D,) int32. lenient: (D,) bool of those that are
    ignored where they find nothing; with another class it is ``lenient_as`` of (detections, classes).
    matched: (T, D) int32 object at COCO's ten IoUs, or -1.
    by_image: (D,) detections ordered by image, then score; image_starts: (I + 1,) into it.
    Objects are ordered by image: object_starts (I + 1,), object_label (G,) int32, counted (G,) bool,
    crowd (G,) bool. num_classes: K.
    overlap: IoU of detection d with the objects of its image at overlap_starts[d] ...
    between: IoU of object o with the objects of its image at between_starts[o] ..., as a detection
    with o's shape would have it (so a crowd's is the share of o inside it).
    """

    place: np.ndarray
    image: np.ndarray
    label: np.ndarray
    lenient: np.ndarray
    lenient_as: Callable[[np.ndarray, np.ndarray], np.ndarray]
    matched: np.ndarray
    by_image: np.ndarray
    image_starts: np.ndarray
    object_image: np.ndarray
    object_starts: np.ndarray
    object_label: np.ndarray
    counted: np.ndarray
    crowd: np.ndarray
    overlap: np.ndarray
    overlap_starts: np.ndarray
    between: np.ndarray
    between_starts: np.ndarray
    num_classes: int


def build(table: MatchTable, found: Detections, shapes: ObjectShapes, truth: GroundTruth) -> ImagePairs:
    """The pairs of one side; ``found`` and ``table`` list the same detections."""
    num_images = len(truth.image_ids)
    order = np.lexsort((found.row, found.image, -found.score))
    image = found.image[order]
    by_image = np.argsort(image, kind="stable")
    object_starts = np.searchsorted(truth.object_image, np.arange(num_images + 1))
    overlap_starts, first, second = _all_pairs(image, object_starts)
    overlap = matching.overlaps(found, order[first], shapes, second)
    if truth.no_credit is not None:
        overlap[truth.no_credit[image[first]]] = 0.0
    between_starts, first, second = _all_pairs(truth.object_image, object_starts)
    if shapes.masks is None:
        boxes = shapes.boxes_xywh
        between = matching.box_overlaps(boxes, first, boxes, second, truth.object_crowd)
    else:
        between = matching.mask_overlaps(shapes.masks, first, shapes.masks, second, truth.object_crowd)
    return ImagePairs(
        place=order,
        image=image,
        label=found.label[order],
        lenient=found.lenient[order],
        lenient_as=lambda those, label: detections.lenient(truth, image[those], label),
        matched=np.ascontiguousarray(table.matched[FIRST_COCO:, order]),
        by_image=by_image,
        image_starts=np.searchsorted(image[by_image], np.arange(num_images + 1)),
        object_image=truth.object_image,
        object_starts=object_starts,
        object_label=truth.object_class,
        counted=table.counts[0],
        crowd=truth.object_crowd,
        overlap=overlap,
        overlap_starts=overlap_starts,
        between=between,
        between_starts=between_starts,
        num_classes=table.num_classes,
    )


def _all_pairs(image: np.ndarray, object_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts (N + 1,), first (P,), second (P,)): each of N things with all objects of its image."""
    number = np.diff(object_starts)[image]
    starts = np.r_[0, np.cumsum(number)].astype(np.int64)
    first = np.repeat(np.arange(len(image)), number)
    second = np.arange(starts[-1]) - np.repeat(starts[:-1] - object_starts[image], number)
    return starts, first, second
