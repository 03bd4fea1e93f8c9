"""Greedy matching of detections to objects, per image and class, by pycocotools' rules.

In order of score, a detection takes the free object of its class with the largest IoU of at
least the threshold (the last among equals); objects that count come before ignored ones; a crowd
can be taken any number of times, and its IoU is the share of the detection inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.coco import masks as mask_runs
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core.compiled import compiled
from wsl_det.evaluation import detections as detection_columns
from wsl_det.evaluation.detections import Detections
from wsl_det.evaluation.match_table import AREA_RANGES, THRESHOLDS, MatchTable
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class ObjectShapes:
    """What overlaps are taken with: boxes always, masks (one per object) for "segm"."""

    boxes_xywh: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    masks: mask_runs.Masks | None


def object_shapes(truth: GroundTruth, iou_type: str) -> ObjectShapes:
    """The shapes of the objects of a ground truth for one IoU type."""
    masks = None
    if iou_type == "segm":
        masks = mask_runs.read(truth.segmentations, truth.object_sizes(), truth.annotation)
    return ObjectShapes(truth.object_boxes_xywh, truth.object_area, truth.object_crowd, masks)


def match(predictions: Predictions, truth: GroundTruth, iou_type: str) -> MatchTable:
    """The match table of predictions for "bbox" or "segm" at ``THRESHOLDS``."""
    found = detection_columns.align(predictions, truth, iou_type)
    return match_aligned(found, object_shapes(truth, iou_type), truth, iou_type)


def match_aligned(found: Detections, shapes: ObjectShapes, truth: GroundTruth, iou_type: str) -> MatchTable:
    """As ``match``, for detections and objects that are aligned already."""
    objects, first, pair_starts = _candidates(
        found.image,
        found.label,
        truth.object_image,
        truth.object_class,
        len(truth.image_ids),
        len(truth.category_ids),
    )
    iou = overlaps(found, shapes, objects, first, pair_starts)
    if truth.no_credit is not None:
        iou[np.repeat(truth.no_credit[found.image], np.diff(pair_starts))] = 0.0
    area = truth.object_area
    # An object counts in a range unless its area lies outside or it is a crowd.
    counts = ~truth.object_crowd & (AREA_RANGES[:, :1] <= area) & (area <= AREA_RANGES[:, 1:])
    matched, status = _match(
        objects, first, pair_starts, iou, THRESHOLDS, found.area, counts, truth.object_crowd, AREA_RANGES,
    )  # fmt: skip
    return MatchTable(
        iou_type=iou_type,
        thresholds=THRESHOLDS,
        image_ids=truth.image_ids,
        category_ids=truth.category_ids,
        class_names=np.array(truth.class_names, dtype=np.str_),
        class_starts=np.searchsorted(found.label, np.arange(len(truth.category_ids) + 1)),
        score=found.score,
        image=found.image,
        rank=found.rank,
        row=found.row,
        matched=matched,
        status=status,
        object_image=truth.object_image,
        object_class=truth.object_class,
        counts=counts,
    )


def overlaps(
    found: Detections, shapes: ObjectShapes, objects: np.ndarray, first: np.ndarray, pair_starts: np.ndarray
) -> np.ndarray:
    """(P,) IoU of every detection with the objects of its class and image, detection by detection."""
    number = np.diff(pair_starts)
    rows = np.repeat(np.arange(len(number)), number)
    columns = objects[np.arange(len(rows)) - np.repeat(pair_starts[:-1] - first, number)]
    if found.boxes_xywh is not None:
        return box_overlaps(found.boxes_xywh, rows, shapes.boxes_xywh, columns, shapes.crowd)
    assert found.masks is not None
    assert shapes.masks is not None
    return mask_overlaps(found.masks, rows, shapes.masks, columns, shapes.crowd)


def mask_overlaps(
    a: mask_runs.Masks, rows: np.ndarray, b: mask_runs.Masks, columns: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """(P,) IoU of mask pairs; for a crowd in ``b`` the share of ``a`` that lies in it."""
    common = mask_runs.intersections(a.runs, a.starts, a.span, rows, b.runs, b.starts, b.span, columns)
    union = np.where(crowd[columns], a.area[rows], a.area[rows] + b.area[columns] - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


@compiled
def _candidates(image, label, object_image, object_class, num_images, num_classes):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """(objects (G,) by class, then as given; first (D,) into it; pair_starts (D + 1,)).

    Detection d has the objects objects[first[d]] ... of its image and class, pair_starts[d + 1] -
    pair_starts[d] of them. Both lists are by class; the objects are by image inside.
    """
    starts = np.zeros(num_classes + 1, dtype=np.int64)
    for o in range(len(object_class)):
        starts[object_class[o] + 1] += 1
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    objects = np.empty(len(object_class), dtype=np.int64)
    for o in range(len(object_class)):
        objects[fill[object_class[o]]] = o
        fill[object_class[o]] += 1
    first = np.zeros(len(image), dtype=np.int64)
    pair_starts = np.zeros(len(image) + 1, dtype=np.int64)
    begin = np.zeros(num_images, dtype=np.int64)
    number = np.zeros(num_images, dtype=np.int64)
    d = 0
    for k in range(num_classes):
        for j in range(starts[k + 1] - 1, starts[k] - 1, -1):
            begin[object_image[objects[j]]] = j
            number[object_image[objects[j]]] += 1
        while d < len(image) and label[d] == k:
            first[d] = begin[image[d]]
            pair_starts[d + 1] = pair_starts[d] + number[image[d]]
            d += 1
        for j in range(starts[k], starts[k + 1]):
            number[object_image[objects[j]]] = 0
    return objects, first, pair_starts


@compiled
def box_overlaps(boxes_a, rows, boxes_b, columns, crowd):  # type: ignore[no-untyped-def]
    """(P,) IoU of xywh box pairs rows[p], columns[p]; for a crowd in b the share of a inside it."""
    iou = np.zeros(len(rows), dtype=np.float64)
    for p in range(len(rows)):
        a, b = rows[p], columns[p]
        ax, ay, aw, ah = boxes_a[a, 0], boxes_a[a, 1], boxes_a[a, 2], boxes_a[a, 3]
        bx, by, bw, bh = boxes_b[b, 0], boxes_b[b, 1], boxes_b[b, 2], boxes_b[b, 3]
        width = min(aw + ax, bw + bx) - max(ax, bx)
        height = min(ah + ay, bh + by) - max(ay, by)
        if width <= 0 or height <= 0:
            continue
        common = width * height
        union = aw * ah if crowd[b] else aw * ah + bw * bh - common
        iou[p] = common / union
    return iou


@compiled
def _match(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    objects, first, pair_starts, iou, thresholds, detection_area, counts, crowd, area_ranges
):
    """(matched (T, D), status (A, T, D)); detections come in order of score inside image and class."""
    num_areas, num_thresholds, num = len(area_ranges), len(thresholds), len(first)
    matched = np.full((num_thresholds, num), -1, dtype=np.int32)
    status = np.zeros((num_areas, num_thresholds, num), dtype=np.uint8)
    taken = np.zeros((len(crowd), num_areas, num_thresholds), dtype=np.bool_)
    for d in range(num):
        pair, number = pair_starts[d], pair_starts[d + 1] - pair_starts[d]
        for a in range(num_areas):
            outside = detection_area[d] < area_ranges[a, 0] or detection_area[d] > area_ranges[a, 1]
            for t in range(num_thresholds):
                best = min(thresholds[t], 1 - 1e-10)
                found = -1
                for j in range(number):
                    o = objects[first[d] + j]
                    if iou[pair + j] >= best and counts[a, o] and not taken[o, a, t]:
                        best = iou[pair + j]
                        found = o
                if found < 0:
                    for j in range(number):
                        o = objects[first[d] + j]
                        if iou[pair + j] >= best and not counts[a, o] and (crowd[o] or not taken[o, a, t]):
                            best = iou[pair + j]
                            found = o
                if found >= 0:
                    taken[found, a, t] = True
                    status[a, t, d] = 1 if counts[a, found] else 2
                    if a == 0:
                        matched[t, d] = found
                elif outside:
                    status[a, t, d] = 2
    return matched, status
