"""Boxes as (..., 4) float tensors, x1 y1 x2 y2 in pixels, the far edge exclusive; pure."""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]
"""Height and width in pixels."""


def area(boxes: Tensor) -> Tensor:
    """Width times height; (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of (N, 4) and (M, 4) as (N, M); 0 where they do not meet, empty boxes too."""
    width = torch.min(first[:, None, 2], second[:, 2]) - torch.max(first[:, None, 0], second[:, 0])
    height = torch.min(first[:, None, 3], second[:, 3]) - torch.max(first[:, None, 1], second[:, 1])
    shared = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = area(first)[:, None] + area(second) - shared
    return torch.where(shared > 0, shared.div(union), shared.new_zeros(()))


def clip(boxes: Tensor, size: Size) -> Tensor:
    """Boxes cut at the border of an image of ``size``."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return torch.stack(
        (x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), dim=-1
    )


def nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Whether both sides are longer than ``min_size``; (N,) bool."""
    return (boxes[:, 2] - boxes[:, 0] > min_size) & (boxes[:, 3] - boxes[:, 1] > min_size)


def inside(boxes: Tensor, size: Size, margin: float) -> Tensor:
    """Whether no side leaves an image of ``size`` by ``margin`` pixels or more; (N,) bool.

    As in Detectron2 the near edges may lie exactly on the margin and the far ones may not.
    """
    height, width = size
    near = (boxes[:, 0] >= -margin) & (boxes[:, 1] >= -margin)
    return near & (boxes[:, 2] < width + margin) & (boxes[:, 3] < height + margin)
