"""Everything level 1 and 2 need from one side, as one column of numbers per weighting of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from wsl_det.evaluation import metrics
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable
from wsl_det.gain import threads

BLOCK = 64
"""Weightings taken together: wide enough for vector units, small enough for the caches."""

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Passes items on, given how many there will be, and may show how far they are."""


def quiet(items: Iterable[Any], total: int) -> Iterable[Any]:
    """A ``Progress`` that shows nothing."""
    return items


class Layout:
    """Where a number stands in a column: the protocol's metrics, AP by IoU, AP, AP50 and AP@.1 of classes."""

    def __init__(self, table: MatchTable) -> None:
        names = table.protocol.metrics
        first = len(names)
        num_iou, num_classes = len(table.thresholds), table.num_classes
        self.metrics = {name: i for i, name in enumerate(names)}
        self.by_iou = slice(first, first + num_iou)
        self.anchors = {f"{iou:.1f}": first + i for i, iou in enumerate(table.thresholds[: FIRST_COCO + 1])}
        self.curve = slice(first + FIRST_COCO, first + num_iou)
        self.classes = slice(self.by_iou.stop, self.by_iou.stop + num_classes)
        self.classes_at_50 = slice(self.classes.stop, self.classes.stop + num_classes)
        self.classes_loose = slice(self.classes_at_50.stop, self.classes_at_50.stop + num_classes)
        self.size = self.classes_loose.stop


def columns(table: MatchTable, weights: np.ndarray | None = None, *, track: Progress = quiet) -> np.ndarray:
    """(S, B) numbers in percent, laid out as ``Layout``, one column for each weighting (I, B)."""
    if weights is None:
        return _column(metrics.measure(table))

    def block(start: int) -> np.ndarray:
        return _column(metrics.measure(table, np.ascontiguousarray(weights[:, start : start + BLOCK])))

    starts = range(0, weights.shape[1], BLOCK)
    return np.concatenate(list(track(threads.in_order(block, starts), len(starts))), axis=1)


def _column(measured: metrics.Measures) -> np.ndarray:
    coco = measured.by_class[FIRST_COCO:]
    return np.concatenate(
        [
            np.stack(list(measured.metrics.values())),
            measured.by_iou,
            coco.mean(axis=0),
            coco[0],
            measured.by_class[0],
        ]
    )
