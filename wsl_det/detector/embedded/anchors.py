"""Anchors of a feature pyramid (Detectron2's DefaultAnchorGenerator)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AnchorGenerator(nn.Module):
    """Anchors of every level: each cell of a feature map has the level's sizes x ratios around it.

    sizes, ratios: one list per level; sizes are square roots of areas in pixels, ratios height / width.
    offset: where a cell's centre lies, in strides from the upper left corner of the image, in [0, 1).
    """

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
        offset: float,
    ) -> None:
        super().__init__()
        self.strides, self.offset = tuple(strides), offset
        cells = [_cell(s, r) for s, r in zip(sizes, ratios, strict=True)]
        self.per_cell = [len(cell) for cell in cells]
        for level, cell in enumerate(cells):
            # Not persistent: anchors are geometry, not weights, and have no key in a state_dict.
            self.register_buffer(f"cell{level}", cell, persistent=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(H * W * A, 4) for each feature map, in the order row, column, anchor."""
        return [
            self._level(level, feature.shape[-2], feature.shape[-1]) for level, feature in enumerate(features)
        ]

    def _level(self, level: int, rows: int, columns: int) -> Tensor:
        cell, stride = self.get_buffer(f"cell{level}"), self.strides[level]
        start = self.offset * stride
        x = torch.arange(start, columns * stride, step=stride, dtype=torch.float32, device=cell.device)
        y = torch.arange(start, rows * stride, step=stride, dtype=torch.float32, device=cell.device)
        grid_y, grid_x = (axis.reshape(-1) for axis in torch.meshgrid(y, x, indexing="ij"))
        shifts = torch.stack((grid_x, grid_y, grid_x, grid_y), dim=1)
        return (shifts[:, None, :] + cell[None, :, :]).reshape(-1, 4)


def _cell(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    boxes = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            boxes.append((-width / 2.0, -height / 2.0, width / 2.0, height / 2.0))
    return torch.tensor(boxes, dtype=torch.float32)
