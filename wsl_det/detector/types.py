"""What crosses the engine seam; box, class, channel and frame conventions are written here once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

Polygons = list[np.ndarray]
"""One object's polygons, each a flat float64 array x0 y0 x1 y1 ... in pixels."""


@dataclass(frozen=True)
class Target:
    """The objects of one image, in the frame of ``Example.image`` (after resize and flip).

    boxes_xyxy: (N, 4) float32 absolute pixels, x1 y1 x2 y2, the far edge exclusive.
    classes: (N,) int64 contiguous classes, 0..K-1 in category-id order.
    masks: N objects' polygons, or an (N, H, W) bool tensor, or None when masks are off.
    """

    boxes_xyxy: Tensor
    classes: Tensor
    masks: list[Polygons] | Tensor | None


@dataclass(frozen=True)
class Example:
    """One image as the model sees it, before normalisation.

    image: (3, H, W) uint8 in the channel order of INPUT.FORMAT.
    height, width: of the original image after its EXIF rotation; predictions are given in that frame.
    """

    image: Tensor
    image_id: int
    height: int
    width: int
    target: Target | None = None


@dataclass(frozen=True)
class Prediction:
    """Detections of one image in the original frame, best score first.

    boxes_xyxy: (N, 4) float32; scores: (N,) float32; classes: (N,) int64;
    masks: COCO RLE dicts ({"size": [H, W], "counts": str}), one per detection, or None.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor
    masks: list[dict[str, Any]] | None
