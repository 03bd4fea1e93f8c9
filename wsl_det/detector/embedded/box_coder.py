"""Boxes as offsets from other boxes (Faster R-CNN, equation 2), with Detectron2's weights and clamp; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Detectron2's bound on the predicted growth: what turns a 16 pixel anchor into a 1000 pixel box.
MAX_LOG_GROWTH = math.log(1000.0 / 16)


class BoxCoder:
    """Between boxes and (dx, dy, dw, dh): shift of the centre in sizes, log of the growth, times weights."""

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
