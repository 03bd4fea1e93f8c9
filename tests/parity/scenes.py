"""Small detection problems that both engines are given: configuration, images, weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsl_det.core.config import Config, load
from wsl_det.detector.defaults import TREE
from wsl_det.detector.types import Example, Target

TINY = Path(__file__).parents[1] / "golden" / "tiny.yaml"
SHAPES = ((96, 128, 4), (75, 110, 1), (64, 64, 0))
"""Height, width and number of objects of the images of a batch; the last has nothing in it."""
# An untrained predictor gives every box one score, no shift and an even mask; these spread them, so
# that thresholds, suppression, clipping and pasting all have work.
GAIN = {
    "roi_heads.box_predictor.cls_score.weight": 0.1,
    "roi_heads.box_predictor.bbox_pred.weight": 0.5,
    "roi_heads.mask_head.predictor.weight": 3.0,
    "proposal_generator.rpn_head.objectness_logits.weight": 1.0,
    "proposal_generator.rpn_head.anchor_deltas.weight": 0.3,
}
"""Standard deviation of a layer's output for unit input, where it is not 1; see ``fill``."""
SMALL = ((64, 64, 3), (50, 64, 2))
SMOOTH: dict[str, Any] = {
    "RPN__NMS_THRESH": 1.0,
    "RPN__PRE_NMS_TOPK_TRAIN": 2000,
    "RPN__POST_NMS_TOPK_TRAIN": 5000,
    "RPN__BATCH_SIZE_PER_IMAGE": 5000,
    "RPN__POSITIVE_FRACTION": 1.0,
    "ROI_HEADS__BATCH_SIZE_PER_IMAGE": 5000,
    "ROI_HEADS__POSITIVE_FRACTION": 1.0,
}
"""Every anchor and proposal counts: no choice that another processor's roundings could tip."""


def config(**overrides: Any) -> Config:
    """The tiny Mask R-CNN; keys below MODEL with ``__`` for the dot."""
    pairs = [x for key, value in overrides.items() for x in (f"MODEL.{key.replace('__', '.')}", value)]
    return load(TINY, TREE, pairs)


def batch(
    seed: int, *, bitmaps: bool = False, shapes: Sequence[tuple[int, int, int]] = SHAPES
) -> list[Example]:
    """Noise with bright polygons on it, the objects; reproducible from ``seed``."""
    rng = np.random.default_rng(seed)
    return [_example(rng, number, *shape, bitmaps=bitmaps) for number, shape in enumerate(shapes)]


def _example(
    rng: np.random.Generator, number: int, height: int, width: int, objects: int, *, bitmaps: bool
) -> Example:
    image = rng.integers(0, 120, (3, height, width), dtype=np.uint8)
    polygons, boxes, classes = [], np.zeros((objects, 4), np.float32), rng.integers(0, 5, objects)
    maps = np.zeros((objects, height, width), bool)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for i in range(objects):
        radii = rng.uniform(8, min(height, width) / 2.2, 2)
        centre = rng.uniform(radii * 0.7, np.array([width, height]) - radii * 0.7)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1)
        points = np.clip(points, 0, [width, height])
        # Every second object has two parts, as occluded ones do.
        parts = [points.reshape(-1)] if i % 2 == 0 else [points[:5].reshape(-1), points[4:].reshape(-1)]
        polygons.append(parts)
        boxes[i] = [*points.min(0), *points.max(0)]
        maps[i] = (((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2) < 1
        image[:, maps[i]] = rng.integers(100, 255, (3, 1), dtype=np.uint8)
    masks = torch.from_numpy(maps) if bitmaps else polygons
    target = Target(torch.from_numpy(boxes), torch.from_numpy(classes.astype(np.int64)), masks)
    # The original frame has another size than the image, and not quite its shape.
    return Example(torch.from_numpy(image), number, round(height * 1.7), round(width * 1.9), target)


@torch.no_grad()
def fill(model: nn.Module, seed: int) -> nn.Module:
    """Lively weights, affines, biases and statistics, so that no term of the model is idle.

    From numpy's legacy generator, whose stream is frozen for good, so golden files need not hold them.
    """
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        rng = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
        if name.endswith(("running_var", "norm.weight")) or (value.ndim == 1 and name.endswith("weight")):
            drawn = rng.uniform(0.75, 1.25, value.shape)
        elif name.endswith(("running_mean", "bias")):
            drawn = rng.normal(0, 0.05, value.shape)
        else:
            fan_in = value[0].numel()
            drawn = rng.normal(0, GAIN.get(name, 1.0) / fan_in**0.5, value.shape)
        value.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return model


def run_losses(engine: Any, model: nn.Module, examples: Sequence[Example], seed: int) -> dict[str, Tensor]:
    """Losses of one training step of ``seed``, on the graph."""
    with engine.running(seed):
        return model.train()(engine.encode(examples))


def export_backbone(make: Callable[[], nn.Module], folder: Path, seed: int = 0) -> Any:
    """An artifact exported from torchvision's ``make()`` with lively weights and statistics."""
    from wsl_det.backbone import export, sources

    rng = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        model = make()
    model = model.to_empty(device="cpu")
    for key, value in model.state_dict().items():
        if value.ndim == 4:
            nn.init.kaiming_normal_(value, mode="fan_out", generator=rng)
        elif "mean" in key:
            value.normal_(0, 0.1, generator=rng)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.0, generator=rng)
    source = folder / "torchvision.pth"
    torch.save(model.state_dict(), source)
    return export.export(sources.read(source), folder / "backbone.pth")[0]
