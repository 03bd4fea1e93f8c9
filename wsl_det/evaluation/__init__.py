"""AP equal to pycocotools and to lvis, and the match tables that curves, oracles and resamples read."""

from __future__ import annotations

from wsl_det.evaluation.coco_ap import evaluate

__all__ = ["evaluate"]
