"""Greedy matching of detections to objects, per image and class, by pycocotools' rules.

In order of score, a detection takes the free object of its class with the largest IoU of at
least the threshold (the last among equals); objects that count come before ignored ones; a crowd
can be taken any number of times, and its IoU is the share of the detection inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.coco import masks as mask_runs
from wsl_det.coco.ground_truth import GroundTruth, places
from wsl_det.evaluation import detections as detection_columns
from wsl_det.evaluation.detections import Detections, ranks
from wsl_det.evaluation.match_table import AREA_RANGES, FALSE, IGNORED, THRESHOLDS, MatchTable
from wsl_det.evaluation.protocols import choose as protocols
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
    boxes = truth.object_boxes_xywh
    if not protocols.of(truth).without_area:
        boxes = boxes * (truth.object_area != 0)[:, None]
    return ObjectShapes(boxes, truth.object_area, truth.object_crowd, masks)


def match(predictions: Predictions, truth: GroundTruth, iou_type: str) -> MatchTable:
    """The match table of predictions for "bbox" or "segm" at ``THRESHOLDS``."""
    found = detection_columns.align(predictions, truth, iou_type)
    return match_aligned(found, object_shapes(truth, iou_type), truth, iou_type)


def match_aligned(found: Detections, shapes: ObjectShapes, truth: GroundTruth, iou_type: str) -> MatchTable:
    """As ``match``, for detections and objects that are aligned already."""
    rows, columns = _candidates(found, truth)
    iou = overlaps(found, rows, shapes, columns)
    if truth.no_credit is not None:
        iou[truth.no_credit[found.image[rows]]] = 0.0
    area = truth.object_area
    # An object counts in a range unless its area lies outside, or it is a crowd or to be ignored.
    counts = truth.object_counts & (AREA_RANGES[:, :1] <= area) & (area <= AREA_RANGES[:, 1:])
    outside = (found.area < AREA_RANGES[:, :1]) | (found.area > AREA_RANGES[:, 1:])
    outside |= found.lenient
    matched, status = _match(rows, columns, iou, outside, counts, truth)
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
        by=protocols.of(truth).name,
        frequency=np.array(truth.category_frequency or [""] * len(truth.category_ids), dtype=np.str_),
    )


def overlaps(found: Detections, rows: np.ndarray, shapes: ObjectShapes, columns: np.ndarray) -> np.ndarray:
    """(P,) IoU of the pairs of detections and objects; for a crowd the share of the detection in it."""
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


def box_overlaps(
    boxes_a: np.ndarray, rows: np.ndarray, boxes_b: np.ndarray, columns: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """(P,) IoU of xywh box pairs rows[p], columns[p]; for a crowd in b the share of a inside it."""
    ax, ay, aw, ah = boxes_a.T.take(rows, axis=1)
    bx, by, bw, bh = boxes_b.T.take(columns, axis=1)
    width = np.minimum(aw + ax, bw + bx) - np.maximum(ax, bx)
    height = np.minimum(ah + ay, bh + by) - np.maximum(ay, by)
    common = width * height
    union = np.where(crowd[columns], aw * ah, aw * ah + bw * bh - common)
    return np.divide(common, union, out=np.zeros(len(common)), where=(width > 0) & (height > 0))


def _candidates(found: Detections, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """(detections (P,) ascending, objects (P,)): each detection with every object of its image and class."""
    images = len(truth.image_ids)
    key = truth.object_class.astype(np.int64) * images + truth.object_image
    objects = np.argsort(key, kind="stable")
    groups, begin, size = np.unique(key[objects], return_index=True, return_counts=True)
    wanted = found.label.astype(np.int64) * images + found.image
    place = places(groups, wanted)
    there = np.flatnonzero(place >= 0)
    begin, number = begin[place[there]], size[place[there]]
    columns = np.arange(number.sum()) + np.repeat(begin - np.cumsum(number) + number, number)
    return np.repeat(there, number), objects[columns]


def _match(  # noqa: PLR0917
    rows: np.ndarray,
    columns: np.ndarray,
    iou: np.ndarray,
    outside: np.ndarray,
    counts: np.ndarray,
    truth: GroundTruth,
) -> tuple[np.ndarray, np.ndarray]:
    """(matched (T, D), status (A, T, D)); detections come in order of score inside image and class.

    rows, columns: as from ``_candidates``. outside (A, D), counts (A, G): of detections (also
    those that are ignored wherever they find nothing) and objects.
    The best detection of every image and class chooses, then the second of every one, and so on.
    """
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)
    matched = np.full((len(limits), outside.shape[1]), -1, dtype=np.int32)
    status = np.empty((len(outside), *matched.shape), dtype=np.uint8)
    lost = np.where(outside, np.uint8(IGNORED), np.uint8(FALSE))
    status[:] = lost[:, None]
    taken = np.zeros((truth.num_objects, len(outside), len(limits)), dtype=bool)
    # Of the pairs of a detection the last that is free is the one it takes.
    kept = np.flatnonzero(iou >= limits.min())
    kept = kept[np.lexsort((iou[kept], rows[kept]))]
    turn = _turns(rows[kept], truth.object_class[columns[kept]], truth.object_image[columns[kept]])
    # Those with one pair apart, since they need no search for the best.
    part = 2 * turn + (np.bincount(rows[kept])[rows[kept]] > 1)
    by_part = np.argsort(part, kind="stable")
    for here in np.split(kept[by_part], np.cumsum(np.bincount(part))[:-1]) if len(kept) else ():
        objects, num = columns[here], len(here)
        begins = np.flatnonzero(np.diff(rows[here], prepend=-1))
        free = ~taken[objects] | truth.object_crowd[objects, None, None]
        free &= (iou[here, None] >= limits)[:, None]
        # Objects that count come before those that do not.
        place = (np.arange(num) + num * counts[:, objects]).T[:, :, None].astype(np.int32)
        wishes = np.where(free, place, -1)
        best = wishes
        if len(begins) < num:
            best = np.maximum.reduceat(wishes, begins, axis=0)
            free &= wishes == np.repeat(best, np.diff(begins, append=num), axis=0)
        taken[objects] |= free
        detections = rows[here][begins]
        found = np.where(best >= 0, IGNORED - (best >= num).view(np.uint8), lost[:, detections].T[:, :, None])
        status[:, :, detections] = found.transpose(1, 2, 0)
        matched[:, detections] = np.where(best[:, 0] >= 0, objects[best[:, 0] % num], -1).T
    return matched, status


def _turns(rows: np.ndarray, label: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(P,) how many detections come before that of a pair in its image and class; rows (P,) ascending."""
    first = np.diff(rows, prepend=-1) > 0
    return ranks(label[first], image[first])[np.cumsum(first) - 1]
