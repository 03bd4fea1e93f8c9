"""Greedy matching of detections to objects, per image and class, by pycocotools' rules.

In order of score, a detection takes the free object of its class with the largest IoU of at
least the threshold (the last among equals); objects that count come before ignored ones; a crowd
can be taken any number of times, and its IoU is the share of the detection inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.evaluation import detections as detection_columns
from wsl_det.evaluation import masks as mask_runs
from wsl_det.evaluation.compiled import compiled
from wsl_det.evaluation.detections import Detections
from wsl_det.evaluation.ground_truth import GroundTruth
from wsl_det.evaluation.match_table import AREA_RANGES, THRESHOLDS, MatchTable
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class Groups:
    """Pairs of one image and one class: their detections and objects, and room for their IoUs.

    detections: (D,) detection indices ordered by group, then rank. objects: (G,) object indices
    ordered by group. detection_starts, object_starts, pair_starts: (N + 1,) int64.
    """

    detections: np.ndarray
    detection_starts: np.ndarray
    objects: np.ndarray
    object_starts: np.ndarray
    pair_starts: np.ndarray


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
        sizes = truth.image_sizes[truth.object_image]
        masks = mask_runs.read(truth.segmentations, sizes, truth.source)
    return ObjectShapes(truth.object_boxes_xywh, truth.object_area, truth.object_crowd, masks)


def match(predictions: Predictions, truth: GroundTruth, iou_type: str) -> MatchTable:
    """The match table of predictions for "bbox" or "segm" at ``THRESHOLDS``."""
    found = detection_columns.align(predictions, truth, iou_type)
    return match_aligned(found, object_shapes(truth, iou_type), truth, iou_type)


def match_aligned(found: Detections, shapes: ObjectShapes, truth: GroundTruth, iou_type: str) -> MatchTable:
    """As ``match``, for detections and objects that are aligned already."""
    num_images = len(truth.image_ids)
    key = found.label.astype(np.int64) * num_images + found.image
    object_key = truth.object_class.astype(np.int64) * num_images + truth.object_image
    groups = group(key, object_key, found.rank)
    iou = overlaps(found, shapes, groups)
    area = truth.object_area
    # An object counts in a range unless its area lies outside or it is a crowd.
    counts = ~truth.object_crowd & (AREA_RANGES[:, :1] <= area) & (area <= AREA_RANGES[:, 1:])
    matched, status = _match_groups(
        groups.detections, groups.detection_starts, groups.objects, groups.object_starts, groups.pair_starts,
        iou, THRESHOLDS, found.area, counts, truth.object_crowd, AREA_RANGES,
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


def group(key: np.ndarray, object_key: np.ndarray, rank: np.ndarray) -> Groups:
    """Groups by key (D,) of the detections and object_key (G,) of the objects; rank (D,) orders inside.

    Objects whose key no detection has are left out: nothing can match them.
    """
    order = np.lexsort((rank, key))
    object_order = np.argsort(object_key, kind="stable")
    names, starts = np.unique(key[order], return_index=True)
    first = np.searchsorted(object_key[object_order], names, side="left")
    num_objects = np.searchsorted(object_key[object_order], names, side="right") - first
    object_starts = np.r_[0, np.cumsum(num_objects)].astype(np.int64)
    kept = np.arange(object_starts[-1]) + np.repeat(first - object_starts[:-1], num_objects)
    detection_starts = np.r_[starts, len(key)].astype(np.int64)
    return Groups(
        detections=order,
        detection_starts=detection_starts,
        objects=object_order[kept],
        object_starts=object_starts,
        pair_starts=np.r_[0, np.cumsum(np.diff(detection_starts) * num_objects)].astype(np.int64),
    )


def overlaps(found: Detections, shapes: ObjectShapes, groups: Groups) -> np.ndarray:
    """(P,) IoU of every detection with every object of its group, detection by detection."""
    rows, columns = _pairs(
        groups.detections, groups.detection_starts, groups.objects, groups.object_starts, groups.pair_starts
    )
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
def _pairs(detections, detection_starts, objects, object_starts, pair_starts):  # type: ignore[no-untyped-def]
    rows = np.empty(pair_starts[-1], dtype=np.int64)
    columns = np.empty(pair_starts[-1], dtype=np.int64)
    at = 0
    for g in range(len(detection_starts) - 1):
        for i in range(detection_starts[g], detection_starts[g + 1]):
            for j in range(object_starts[g], object_starts[g + 1]):
                rows[at] = detections[i]
                columns[at] = objects[j]
                at += 1
    return rows, columns


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
def _match_groups(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0917
    detections, detection_starts, objects, object_starts, pair_starts,
    iou, thresholds, detection_area, counts, crowd, area_ranges,
):  # fmt: skip
    num_areas, num_thresholds, num = len(area_ranges), len(thresholds), len(detections)
    matched = np.full((num_thresholds, num), -1, dtype=np.int32)
    status = np.zeros((num_areas, num_thresholds, num), dtype=np.uint8)
    taken = np.zeros(len(crowd), dtype=np.bool_)
    for g in range(len(detection_starts) - 1):
        first, last = object_starts[g], object_starts[g + 1]
        for a in range(num_areas):
            for t in range(num_thresholds):
                for j in range(first, last):
                    taken[objects[j]] = False
                for i in range(detection_starts[g], detection_starts[g + 1]):
                    d = detections[i]
                    pair = pair_starts[g] + (i - detection_starts[g]) * (last - first) - first
                    best = min(thresholds[t], 1 - 1e-10)
                    found = -1
                    for j in range(first, last):
                        o = objects[j]
                        if counts[a, o] and not taken[o] and iou[pair + j] >= best:
                            best = iou[pair + j]
                            found = o
                    if found < 0:
                        for j in range(first, last):
                            o = objects[j]
                            if not counts[a, o] and (crowd[o] or not taken[o]) and iou[pair + j] >= best:
                                best = iou[pair + j]
                                found = o
                    if found >= 0:
                        taken[found] = True
                        status[a, t, d] = 1 if counts[a, found] else 2
                        if a == 0:
                            matched[t, d] = found
                    elif detection_area[d] < area_ranges[a, 0] or detection_area[d] > area_ranges[a, 1]:
                        status[a, t, d] = 2
    return matched, status
