"""Boxes as (..., 4) float tensors, x1 y1 x2 y2 in pixels, the far edge exclusive; as offsets too; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image as clip

__all__ = ["MAX_LOG_GROWTH", "BoxCoder", "Size", "area", "clip", "inside", "nonempty", "pairwise_iou"]

Size = tuple[int, int]
"""Height and width in pixels."""
# Detectron2's bound on the predicted growth: what turns a 16 pixel anchor into a 1000 pixel box.
MAX_LOG_GROWTH = math.log(1000.0 / 16)


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


class BoxCoder:
    """Between boxes and (dx, dy, dw, dh): shift of the centre in sizes, log of the growth, times weights.

    Faster R-CNN, equation 2, with Detectron2's weights and clamp.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.wx, self.wy, self.ww, self.wh = weights

    def encode(self, source: Tensor, target: Tensor) -> Tensor:
        """Offsets (N, 4) that take ``source`` boxes to ``target`` boxes, row by row."""
        width, height, x, y = _centred(source)
        to_width, to_height, to_x, to_y = _centred(target)
        return torch.stack(
            (
                self.wx * (to_x - x) / width,
                self.wy * (to_y - y) / height,
                self.ww * torch.log(to_width / width),
                self.wh * torch.log(to_height / height),
            ),
            dim=1,
        )

    def decode(self, offsets: Tensor, source: Tensor) -> Tensor:
        """Boxes from offsets (N, 4 * k), k of them for each of the N source boxes; always float32."""
        # Half precision cannot hold pixel coordinates, so this leaves autocast on purpose.
        offsets = offsets.float()
        width, height, x, y = (v[:, None] for v in _centred(source.to(offsets.dtype)))
        dx, dy = offsets[:, 0::4] / self.wx, offsets[:, 1::4] / self.wy
        dw = torch.clamp(offsets[:, 2::4] / self.ww, max=MAX_LOG_GROWTH)
        dh = torch.clamp(offsets[:, 3::4] / self.wh, max=MAX_LOG_GROWTH)
        new_x, new_y = dx * width + x, dy * height + y
        half_width, half_height = 0.5 * (torch.exp(dw) * width), 0.5 * (torch.exp(dh) * height)
        corners = (new_x - half_width, new_y - half_height, new_x + half_width, new_y + half_height)
        return torch.stack(corners, dim=-1).reshape(offsets.shape)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return width, height, boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height
