"""The numbers of a protocol, AP by IoU and AP by class, from a match table and image weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable


@dataclass(frozen=True)
class Measures:
    """What one side scores under B weightings, in percent, nan where undefined.

    metrics: the protocol's names -> (B,). by_iou: (T, B) AP at each IoU of the table.
    by_class: (T, K, B) AP of each class at each IoU.
    """

    metrics: dict[str, np.ndarray]
    by_iou: np.ndarray
    by_class: np.ndarray


def measure(table: MatchTable, weights: np.ndarray | None = None) -> Measures:
    """The measures under ``weights`` (I, B) uint8, by default one weighting of 1 for every image."""
    counted = _objects(table, weights)

    def precision(status: np.ndarray, objects: np.ndarray) -> np.ndarray:
        if weights is None:
            return 100 * ap.plain(table.class_starts, status, objects[:, 0])[:, :, None]
        return np.asarray(100 * ap.precision(table.class_starts, table.image, status, weights, objects))

    by_class = precision(table.status[0], counted[0])
    by_iou = ap.mean_over_classes(by_class, 1)
    coco = by_class[FIRST_COCO:]
    metrics = {
        "AP": ap.mean_over_classes(coco, (0, 1)),
        "AP50": by_iou[FIRST_COCO],
        "AP75": by_iou[FIRST_COCO + 5],
    }
    for area, name in enumerate(("APs", "APm", "APl"), start=1):
        sized = precision(table.status[area, FIRST_COCO:], counted[area])
        metrics[name] = ap.mean_over_classes(sized, (0, 1))
    for name, band in table.protocol.bands.items():
        metrics[name] = ap.mean_over_classes(coco[:, table.frequency == band], (0, 1))
    for (name, area, _), total in zip(table.protocol.recalls, _hits(table, weights), strict=True):
        number = counted[area] * len(coco)
        recall = np.divide(100.0 * total, number, out=np.full(total.shape, np.nan), where=number > 0)
        metrics[name] = ap.mean_over_classes(recall, 0)
    return Measures(metrics, by_iou, by_class)


def _objects(table: MatchTable, weights: np.ndarray | None) -> list[np.ndarray]:
    """(K, B) weighted objects that count, for each area range."""
    labels, classes = table.object_class, table.num_classes
    if weights is None:
        return [np.bincount(labels[counts], minlength=classes)[:, None] for counts in table.counts]
    return [ap.positives(table.object_image, labels, counts, weights, classes) for counts in table.counts]


def _hits(table: MatchTable, weights: np.ndarray | None) -> np.ndarray:
    """(R, K, B) weighted sums of ``table.recall_hits`` over the detections of a class."""
    if weights is not None:
        return np.asarray(ap.hits(table.class_starts, table.image, table.recall_hits, weights))
    found = np.zeros((len(table.recall_hits), table.num_classes, 1), dtype=np.int64)
    there = np.flatnonzero(np.diff(table.class_starts))
    if len(there):
        starts = table.class_starts[there]
        found[:, there, 0] = np.add.reduceat(table.recall_hits, starts, axis=1, dtype=np.int64)
    return found
