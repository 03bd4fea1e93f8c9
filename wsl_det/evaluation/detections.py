"""Detections seen from a ground truth: ids become indices, the rest is cut to what COCO counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.errors import DataError
from wsl_det.evaluation import masks as mask_runs
from wsl_det.evaluation.ground_truth import GroundTruth
from wsl_det.predictions import Predictions

MAX_DETECTIONS = 100
"""Detections that COCO counts per image and class, the best by score."""


@dataclass(frozen=True)
class Detections:
    """The counted detections of one IoU type, by class, then descending score, then image id.

    row: (D,) int64 place in the predictions file. image, label: (D,) int32 indices.
    score: (D,) float64. rank: (D,) int32 place within image and class, from 0.
    boxes_xywh: (D, 4) float64, for "bbox". masks: for "segm". area: (D,) float64 of box or mask.
    dropped: how many lay beyond the 100 best of their image and class.
    """

    row: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    boxes_xywh: np.ndarray | None
    masks: mask_runs.Masks | None
    area: np.ndarray
    dropped: int

    def __len__(self) -> int:
        return len(self.score)


def align(predictions: Predictions, truth: GroundTruth, iou_type: str) -> Detections:
    """The detections that COCO counts, in pycocotools' order of ranking.

    Ties of score keep ascending image id and then the order of the file. For "segm" the area
    is that of the mask even where the rows carry boxes too, as in Detectron2 (`loadRes` alone
    would take the box's). Raises DataError for images and categories that the ground truth
    does not have.
    """
    image = _indices(predictions.image_ids, truth.image_ids, "image_id", "images", predictions, truth)
    label = _indices(
        predictions.category_ids, truth.category_ids, "category_id", "categories", predictions, truth
    )
    order = np.lexsort((np.arange(len(image)), image, -predictions.scores, label))
    rank = _rank_in_group(label[order].astype(np.int64) * len(truth.image_ids) + image[order])
    row = order[rank < MAX_DETECTIONS]
    rank = rank[rank < MAX_DETECTIONS].astype(np.int32)
    boxes, masks = None, None
    if iou_type == "bbox":
        assert predictions.boxes_xywh is not None, "the caller checks iou_types"
        boxes = predictions.boxes_xywh[row]
        area = boxes[:, 2] * boxes[:, 3]
    else:
        assert predictions.masks is not None, "the caller checks iou_types"
        values = [predictions.masks[i] for i in row]
        masks = mask_runs.read(values, truth.image_sizes[image[row]], predictions.source)
        area = masks.area
    return Detections(
        row=row,
        image=image[row].astype(np.int32),
        label=label[row].astype(np.int32),
        score=predictions.scores[row],
        rank=rank,
        boxes_xywh=boxes,
        masks=masks,
        area=area,
        dropped=len(order) - len(row),
    )


def _rank_in_group(group: np.ndarray) -> np.ndarray:
    """(N,) how many earlier elements have the same value."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(group) else np.zeros(0, np.int64)
    size = np.diff(np.r_[first, len(group)])
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(first, size)
    return rank


def _indices(  # noqa: PLR0917
    ids: np.ndarray, known: np.ndarray, key: str, section: str, predictions: Predictions, truth: GroundTruth
) -> np.ndarray:
    if len(known) == 0 and len(ids):
        raise DataError(f"{truth.source} has no {section}, {predictions.source} has {len(ids)} detections")
    index = np.searchsorted(known, ids)
    found = known[np.minimum(index, len(known) - 1)] == ids if len(ids) else np.zeros(0, dtype=bool)
    if not found.all():
        row = int(np.argmin(found))
        strangers = len(np.unique(ids[~found]))
        raise DataError(
            f"{predictions.source}: row {row} has {key} {ids[row]}, which {truth.source} does not have "
            f"({strangers} unknown in all); predictions and --gt belong to different data sets"
        )
    return index
