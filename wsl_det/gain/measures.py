"""Everything level 1 and 2 need from one side, as one column of numbers per weighting of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from wsl_det.evaluation import metrics
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable

BLOCK = 128
"""Weightings taken together: wide enough for vector units, small enough for the caches."""

Progress = Callable[[Iterable[int]], Iterable[int]]


class Layout:
    """Where a number stands in a column: the 12 metrics, AP by IoU, AP and AP50 of the classes."""

    def __init__(self, table: MatchTable) -> None:
        first = len(metrics.METRICS)
        num_iou, num_classes = len(table.thresholds), table.num_classes
        self.metrics = {name: i for i, name in enumerate(metrics.METRICS)}
        self.by_iou = slice(first, first + num_iou)
        self.anchors = {f"{iou:.1f}": first + i for i, iou in enumerate(table.thresholds[: FIRST_COCO + 1])}
        self.curve = slice(first + FIRST_COCO, first + num_iou)
        self.classes = slice(self.by_iou.stop, self.by_iou.stop + num_classes)
        self.classes_at_50 = slice(self.classes.stop, self.classes.stop + num_classes)
        self.size = self.classes_at_50.stop


def columns(table: MatchTable, weights: np.ndarray | None = None, *, track: Progress = iter) -> np.ndarray:
    """(S, B) numbers in percent, laid out as ``Layout``, one column for each weighting (I, B)."""
    if weights is None:
        return _column(metrics.measure(table))
    blocks = []
    for start in track(range(0, weights.shape[1], BLOCK)):
        block = np.ascontiguousarray(weights[:, start : start + BLOCK])
        blocks.append(_column(metrics.measure(table, block)))
    return np.concatenate(blocks, axis=1)


def swapped(both: MatchTable, flips: np.ndarray, *, track: Progress = iter) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the two sides after swaps; ``both`` is ``resamples.merged``, flips (I, B) of 0 and 1."""
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for start in track(range(0, flips.shape[1], BLOCK)):
        flip = np.ascontiguousarray(flips[:, start : start + BLOCK])
        ones = np.ones_like(flip)
        for side, weights in zip(sides, ((ones - flip, flip), (flip, ones - flip)), strict=True):
            measured = metrics.measure(both, np.concatenate(weights), positives_weights=ones)
            side.append(_column(measured))
    return np.concatenate(sides[0], axis=1), np.concatenate(sides[1], axis=1)


def _column(measured: metrics.Measures) -> np.ndarray:
    coco = measured.by_class[FIRST_COCO:]
    return np.concatenate(
        [
            np.stack([measured.metrics[name] for name in metrics.METRICS]),
            measured.by_iou,
            coco.mean(axis=0),
            coco[0],
        ]
    )
