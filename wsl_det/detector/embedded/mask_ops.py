"""Masks between polygons, bitmaps, small squares and COCO run lengths; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import roi_align

from wsl_det.detector.embedded.boxes import Size
from wsl_det.detector.types import Polygons

THRESHOLD = 0.5


def rasterise_in_boxes(polygons: Sequence[Polygons], boxes: Tensor, side: int) -> Tensor:
    """Each object inside its box, on a square of ``side`` pixels: (N, side, side) bool on the CPU.

    boxes: (N, 4) float32. Drawn by the COCO API after shifting and scaling the polygons, as in
    Detectron2; a box side shorter than 0.1 pixel counts as 0.1.
    """
    if not len(polygons):
        return torch.zeros((0, side, side), dtype=torch.bool)
    rows = boxes.detach().cpu().numpy()
    drawn = [_rasterise(parts, box, side) for parts, box in zip(polygons, rows, strict=True)]
    return torch.from_numpy(np.stack(drawn))


def _rasterise(parts: Polygons, box: np.ndarray, side: int) -> np.ndarray:
    if not parts:
        return np.zeros((side, side), dtype=bool)
    # The ratios stay in the boxes' float32: rounding there decides which pixel an edge falls on.
    scale = side / np.maximum(box[2:] - box[:2], np.float32(0.1))
    moved = [((part.reshape(-1, 2) - box[:2]) * scale).reshape(-1) for part in parts]
    runs = coco_mask.frPyObjects(moved, side, side)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def crop_in_boxes(bitmaps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Bitmaps (N, H, W) inside boxes (N, 4), resampled to (N, side, side) and cut at one half; bool."""
    index = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
    rois = torch.cat([index, boxes], dim=1).to(bitmaps.device)
    resampled = roi_align(bitmaps[:, None].to(torch.float32), rois, side, 1.0, 0, True)
    return resampled.squeeze(1) >= THRESHOLD


def paste_as_runs(probabilities: Tensor, boxes: Tensor, size: Size) -> list[dict[str, Any]]:
    """Square masks (N, M, M), stretched over their boxes in an image of ``size``, as COCO RLEs.

    A pixel belongs to the mask if bilinear interpolation at its centre gives at least one half.
    """
    return [
        encode_crop(*paste_in_crop(mask, box, size), size)
        for mask, box in zip(probabilities, boxes, strict=True)
    ]


def paste_in_crop(mask: Tensor, box: Tensor, size: Size) -> tuple[np.ndarray, int, int]:
    """The mask (M, M) in the pixels around its box, bool (h, w), and that crop's top and left.

    Nothing outside a box reaches one half, since there at most half of a border value is left, so
    the crop holds every pixel of the full-size mask.
    """
    left, top = (max(int(v) - 1, 0) for v in box[:2].floor())
    right, bottom = min(int(box[2].ceil()) + 1, size[1]), min(int(box[3].ceil()) + 1, size[0])
    if right <= left or bottom <= top:
        return np.zeros((0, 0), dtype=bool), 0, 0
    x = torch.arange(left, right, device=mask.device, dtype=torch.float32) + 0.5
    y = torch.arange(top, bottom, device=mask.device, dtype=torch.float32) + 0.5
    x = (x - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (y - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=2)
    pasted = F.grid_sample(mask[None, None].float(), grid[None], align_corners=False)[0, 0]
    return (pasted >= THRESHOLD).cpu().numpy(), top, left


def encode_crop(crop: np.ndarray, top: int, left: int, size: Size) -> dict[str, Any]:
    """COCO RLE of an image that is empty outside ``crop``; equal to encoding the whole image."""
    height, width = size
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = crop.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    # COCO runs go down the columns: changes come in pairs, the start of a run and its end.
    edges = (column + left) * height + row + top
    starts, ends = edges[0::2], edges[1::2]
    # A run that reaches the bottom goes on at the top of the next column: no change in between.
    joined = starts[1:] == ends[:-1]
    starts = starts[np.append(True, ~joined)[: len(starts)]]
    ends = ends[np.append(~joined, True)[: len(ends)]]
    changes = np.stack([starts, ends], axis=1).reshape(-1)
    if not len(changes) or changes[-1] != height * width:
        changes = np.append(changes, height * width)
    counts = np.diff(changes, prepend=0).tolist()
    runs = coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    return {"size": [height, width], "counts": runs["counts"].decode("ascii")}
