"""From scored boxes of every level to the proposals of each image; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded.boxes import Size


@dataclass(frozen=True)
class Proposals:
    """Where objects may be in one image: boxes (N, 4) in pixels of the model's input, best first.

    logits: (N,) objectness. size: of the image before padding.
    """

    boxes: Tensor
    logits: Tensor
    size: Size


def find_top_proposals(
    boxes: Sequence[Tensor],
    logits: Sequence[Tensor],
    sizes: Sequence[Size],
    *,
    pre_nms_topk: int,
    post_nms_topk: int,
    nms_threshold: float,
    min_size: float,
) -> list[Proposals]:
    """The best boxes of each image after non-maximum suppression within each level.

    boxes: per level (images, A, 4); logits: per level (images, A). ``pre_nms_topk`` counts for each
    level, ``post_nms_topk`` for an image. Boxes that are not finite are dropped; the rest are cut at
    the image's border and dropped if a side is no longer than ``min_size``.
    """
    chosen_boxes, chosen_logits, levels = [], [], []
    for level, (level_boxes, level_logits) in enumerate(zip(boxes, logits, strict=True)):
        count = min(level_logits.shape[1], pre_nms_topk)
        top, index = level_logits.topk(count, dim=1)
        chosen_logits.append(top)
        chosen_boxes.append(level_boxes.gather(1, index[:, :, None].expand(-1, -1, 4)))
        levels.append(index.new_full((count,), level))
    all_boxes, all_logits, level_of = (
        torch.cat(chosen_boxes, 1),
        torch.cat(chosen_logits, 1),
        torch.cat(levels),
    )
    return [
        _suppress(
            Proposals(all_boxes[i], all_logits[i], size), level_of, nms_threshold, min_size, post_nms_topk
        )
        for i, size in enumerate(sizes)
    ]


def _suppress(found: Proposals, level_of: Tensor, threshold: float, min_size: float, topk: int) -> Proposals:
    finite = torch.isfinite(found.boxes).all(dim=1) & torch.isfinite(found.logits)
    boxes, logits, level_of = found.boxes[finite], found.logits[finite], level_of[finite]
    boxes = box_ops.clip(boxes, found.size)
    keep = box_ops.nonempty(boxes, min_size)
    boxes, logits, level_of = boxes[keep], logits[keep], level_of[keep]
    # Half precision cannot tell apart the coordinates that separate the levels.
    keep = batched_nms(boxes.float(), logits, level_of, threshold)[:topk]
    return Proposals(boxes[keep], logits[keep], found.size)
