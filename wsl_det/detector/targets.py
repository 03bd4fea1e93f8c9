"""Annotations through a geometry -> the ``Target`` to train on, as Detectron2's mapper makes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsl_det.detector.coco_records import Annotation
from wsl_det.detector.transforms import Geometry
from wsl_det.detector.types import Polygons, Target

# Narrower or lower boxes than this many pixels are dropped (Detectron2's filter_empty_instances).
_SMALLEST = 1e-5


def build(objects: Sequence[Annotation], geometry: Geometry, *, masks: str | None, tighten: bool) -> Target:
    """The objects that are left after ``geometry``, in its frame.

    Coordinates are float64 until the end. Detectron2 does the same for annotations with fractions, and
    cuts the fractions off when a json holds whole numbers; that accident is not followed.
    ``masks`` is "polygon", "bitmask" or None. ``tighten`` takes the boxes anew from the shapes, as
    Detectron2 does after a crop: the cut box of a slanted object would be too wide.
    """
    boxes_in = np.array([a.box_xyxy for a in objects], dtype=np.float64).reshape(-1, 4)
    boxes = torch.from_numpy(geometry.boxes(boxes_in)).float()
    classes = torch.tensor([a.category for a in objects], dtype=torch.int64)
    if masks is None:
        keep = _sized(boxes)
        return Target(boxes[keep], classes[keep], None)
    if masks == "polygon":
        polygons = [geometry.polygons(a.segmentation or []) for a in objects]  # type: ignore[arg-type]
        if tighten:
            boxes = torch.stack([_polygon_box(p) for p in polygons]) if polygons else boxes
        keep = _sized(boxes) & torch.tensor([len(p) > 0 for p in polygons], dtype=torch.bool)
        return Target(
            boxes[keep], classes[keep], [p for p, k in zip(polygons, keep.tolist(), strict=True) if k]
        )
    bitmasks = _bitmasks(objects, geometry)
    if tighten:
        boxes = torch.stack([_mask_box(m) for m in bitmasks]) if len(bitmasks) else boxes
    keep = _sized(boxes) & bitmasks.flatten(1).any(dim=1)
    return Target(boxes[keep], classes[keep], bitmasks[keep])


def _sized(boxes: Tensor) -> Tensor:
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return (widths > _SMALLEST) & (heights > _SMALLEST)


def _polygon_box(polygons: Polygons) -> Tensor:
    if not polygons:
        return torch.zeros(4)
    points = torch.from_numpy(np.concatenate(polygons).reshape(-1, 2)).float()
    return torch.cat([points.min(dim=0).values, points.max(dim=0).values])


def _mask_box(mask: Tensor) -> Tensor:
    ys, xs = torch.where(mask)
    if not len(ys):
        return torch.zeros(4)
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()


def _bitmasks(objects: Sequence[Annotation], geometry: Geometry) -> Tensor:
    drawn = [_bitmask(a, geometry) for a in objects]
    if not drawn:
        return torch.zeros((0, geometry.height, geometry.width), dtype=torch.bool)
    return torch.from_numpy(np.stack(drawn)).bool()


def _bitmask(annotation: Annotation, geometry: Geometry) -> np.ndarray:
    from pycocotools import mask as coco_mask

    shape = annotation.segmentation
    if isinstance(shape, dict):
        return geometry.mask(coco_mask.decode(shape))
    polygons = [p.tolist() for p in geometry.polygons(shape or [])]
    if not polygons:
        return np.zeros((geometry.height, geometry.width), dtype=np.uint8)
    rles = coco_mask.frPyObjects(polygons, geometry.height, geometry.width)
    return coco_mask.decode(coco_mask.merge(rles))
