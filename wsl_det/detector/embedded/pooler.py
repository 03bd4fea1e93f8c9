"""Regions of a feature pyramid, resampled to a fixed size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align, roi_pool

from wsl_det.detector.embedded import boxes as box_ops

POOLERS = ("ROIAlignV2", "ROIAlign", "ROIPool")


def assign_levels(
    boxes: Tensor, *, finest: int, coarsest: int, canonical_size: float = 224.0, canonical_level: int = 4
) -> Tensor:
    """Pyramid level of each box as an offset from ``finest``, (N,) int64 (FPN, equation 1).

    A box of ``canonical_size`` pixels squared goes to ``canonical_level`` (stride 2**level).
    """
    sizes = torch.sqrt(box_ops.area(boxes))
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_size + 1e-8))
    return torch.clamp(levels, min=finest, max=coarsest).to(torch.int64) - finest


class Pooler(nn.Module):
    """Takes each box from the level that suits its size: (sum of N, C, resolution, resolution).

    kind: ROIAlignV2 (pixel centres at halves), ROIAlign (Detectron1's, off by half a pixel) or ROIPool.
    sampling_ratio: samples per bin and axis, 0 for as many as the bin has pixels. strides: of the
    levels given to ``forward``, powers of 2 in a row.
    """

    def __init__(self, *, resolution: int, strides: Sequence[int], sampling_ratio: int, kind: str) -> None:
        super().__init__()
        self.resolution, self.strides = resolution, tuple(strides)
        self.sampling_ratio, self.kind = sampling_ratio, kind

    def forward(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """features: one map per level; boxes: (N, 4) per image, in pixels of the model's input."""
        rois = _with_image_index(boxes)
        if len(features) == 1:
            return self._pool(features[0], rois, self.strides[0])
        levels = assign_levels(
            rois[:, 1:], finest=int(math.log2(self.strides[0])), coarsest=int(math.log2(self.strides[-1]))
        )
        shape = (len(rois), features[0].shape[1], self.resolution, self.resolution)
        pooled = features[0].new_zeros(shape)
        for level, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            # Levels without boxes are pooled too: every feature map stays in the graph, as DDP wants.
            chosen = torch.nonzero(levels == level).squeeze(1)
            pooled.index_put_((chosen,), self._pool(feature, rois[chosen], stride))
        return pooled

    def _pool(self, feature: Tensor, rois: Tensor, stride: int) -> Tensor:
        rois = rois.to(feature.dtype)
        if self.kind == "ROIPool":
            return roi_pool(feature, rois, self.resolution, 1.0 / stride)
        aligned = self.kind == "ROIAlignV2"
        return roi_align(feature, rois, self.resolution, 1.0 / stride, self.sampling_ratio, aligned)


def _with_image_index(boxes: Sequence[Tensor]) -> Tensor:
    counts = torch.tensor([len(b) for b in boxes], device=boxes[0].device)
    images = torch.arange(len(boxes), dtype=boxes[0].dtype, device=boxes[0].device)
    return torch.cat([torch.repeat_interleave(images, counts)[:, None], torch.cat(list(boxes))], dim=1)
