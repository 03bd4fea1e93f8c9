"""Detections seen from a ground truth: ids become indices, the rest is cut to what a protocol counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.coco import masks as mask_runs
from wsl_det.coco.ground_truth import GroundTruth, places
from wsl_det.errors import DataError
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class Detections:
    """The counted detections of one IoU type, by class, then descending score, then image id.

    row: (D,) int64 place in the predictions file. image, label: (D,) int32 indices.
    score: (D,) float64. rank: (D,) int32 place within image and class, from 0.
    boxes_xywh: (D, 4) float64, for "bbox". masks: for "segm". area: (D,) float64 of box or mask.
    lenient: (D,) bool of those that are ignored where they find nothing.
    """

    row: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    boxes_xywh: np.ndarray | None
    masks: mask_runs.Masks | None
    area: np.ndarray
    lenient: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


def align(predictions: Predictions, truth: GroundTruth, iou_type: str) -> Detections:
    """The detections that the truth's protocol counts, in pycocotools' order of ranking.

    Ties of score keep ascending image id and then the order of the file. For "segm" the area
    is that of the mask even where the rows carry boxes too, as in Detectron2 (`loadRes` alone
    would take the box's). Raises DataError for images and categories that the ground truth
    does not have.
    """
    image = _indices(predictions.image_ids, truth.image_ids, "image_id", "images", predictions, truth)
    label = _indices(
        predictions.category_ids, truth.category_ids, "category_id", "categories", predictions, truth
    )
    # By class, then score, then image, then file: three stable sorts from the last key to the first.
    order = np.arange(len(image)) if (np.diff(image) >= 0).all() else np.argsort(image, kind="stable")
    order = order[_descending(predictions.scores[order])]
    protocol = protocols.of(truth)
    if not protocol.by_class:
        order = order[ranks(np.zeros_like(order), image[order]) < protocol.limit]
    if protocol.judged is not None:
        order = order[protocol.judged(truth, image[order], label[order])]
    order = order[_stable(label[order])]
    rank = ranks(label[order], image[order])
    row = order[rank < protocol.limit]
    rank = rank[rank < protocol.limit]
    boxes, masks = None, None
    if iou_type == "bbox":
        assert predictions.boxes_xywh is not None, "the caller checks iou_types"
        boxes = predictions.boxes_xywh.take(row, axis=0)
        area = boxes[:, 2] * boxes[:, 3]
    else:
        assert predictions.masks is not None, "the caller checks iou_types"
        given = [predictions.masks[i] for i in row.tolist()]
        masks = mask_runs.read(
            given, truth.image_sizes[image[row]], lambda k: f"{predictions.source}: row {row[k]}"
        )
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
        lenient=lenient(truth, image[row], label[row]) | ((area == 0) & (not protocol.without_area)),
    )


def lenient(truth: GroundTruth, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a detection of the class in the image is ignored where it finds nothing."""
    protocol = protocols.of(truth)
    if protocol.lenient is None:
        return np.zeros(len(image), dtype=bool)
    found = protocol.lenient(truth, image, label)
    return found if truth.no_credit is None else found & ~truth.no_credit[image]


def _descending(scores: np.ndarray) -> np.ndarray:
    """The stable order from the highest score: numpy's quick sort, then ties by place, in half the time."""
    order = np.argsort(-scores)
    ties = np.cumsum(np.diff(scores[order], prepend=np.inf) != 0)
    return np.asarray(np.sort(ties * len(order) + order) % max(len(order), 1))


def _stable(keys: np.ndarray) -> np.ndarray:
    """The stable order of keys from 0; numpy sorts short integers in a fraction of the time."""
    return np.argsort(keys.astype(np.uint16) if keys.max(initial=0) < 2**16 else keys, kind="stable")


def ranks(label: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(D,) int32 place of each detection among those of its image and class, in the order given."""
    order = _stable(image)
    order = order[_stable(label[order])]
    begins = (np.diff(label[order], prepend=-1) != 0) | (np.diff(image[order], prepend=-1) != 0)
    place = np.arange(len(order))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = place - np.maximum.accumulate(np.where(begins, place, 0))
    return rank


def _indices(  # noqa: PLR0917
    ids: np.ndarray, known: np.ndarray, key: str, section: str, predictions: Predictions, truth: GroundTruth
) -> np.ndarray:
    if len(known) == 0 and len(ids):
        raise DataError(f"{truth.source} has no {section}, {predictions.source} has {len(ids)} detections")
    index = places(known, ids)
    if (index < 0).any():
        row = int(np.argmin(index))
        strangers = len(np.unique(ids[index < 0]))
        raise DataError(
            f"{predictions.source}: row {row} has {key} {ids[row]}, which {truth.source} does not have "
            f"({strangers} unknown in all); predictions and --gt belong to different data sets"
        )
    return index
