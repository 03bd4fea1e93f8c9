"""A finished comparison as values; nothing here renders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.evaluation import coco_ap
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class Compared:
    """``content`` is gain.json; the truth and the runs of both sides are kept for the gallery."""

    content: dict[str, Any]
    truth: GroundTruth
    baseline: list[Predictions]
    candidate: list[Predictions]

    def iou_types(self) -> list[str]:
        return [name for name in coco_ap.IOU_TYPES if name in self.content]
