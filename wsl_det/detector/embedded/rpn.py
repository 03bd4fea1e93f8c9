"""Region proposal network (Ren et al., NeurIPS 2015) over a pyramid, with Detectron2's names and numerics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from wsl_det.backbone import layers
from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded.anchors import AnchorGenerator
from wsl_det.detector.embedded.boxes import Size
from wsl_det.detector.embedded.losses import BoxLoss
from wsl_det.detector.embedded.matcher import Matcher, Sampler


@dataclass(frozen=True)
class Proposals:
    """Where objects may be in one image: boxes (N, 4) in pixels of the model's input, best first.

    logits: (N,) objectness. size: of the image before padding.
    """

    boxes: Tensor
    logits: Tensor
    size: Size


class RPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then objectness and offsets of each anchor.

    conv_dims: channels of the 3x3 convolutions, -1 for as many as come in.
    """

    def __init__(self, channels: int, *, num_anchors: int, conv_dims: Sequence[int] = (-1,)) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        for dim in conv_dims:
            outputs = channels if dim == -1 else dim
            convs.append(layers.conv(channels, outputs, 3))
            channels = outputs
        # One convolution has no number in its name, several have: Detectron2's keys.
        self.conv = convs[0] if len(convs) == 1 else _numbered(convs)
        self.objectness_logits = layers.conv(channels, num_anchors, 1)
        self.anchor_deltas = layers.conv(channels, num_anchors * 4, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level logits (images, H * W * A) and offsets (images, H * W * A, 4)."""
        logits, offsets = [], []
        for feature in features:
            hidden = feature
            for conv in self.conv if isinstance(self.conv, nn.Sequential) else (self.conv,):
                hidden = F.relu_(conv(hidden))
            logits.append(self.objectness_logits(hidden).permute(0, 2, 3, 1).flatten(1))
            # (images, A * 4, H, W): the four offsets of an anchor are neighbours.
            offsets.append(self.anchor_deltas(hidden).permute(0, 2, 3, 1).reshape(len(feature), -1, 4))
        return logits, offsets


class RPN(nn.Module):
    """Scores anchors and shifts them towards objects; learns from those that ``sampler`` chooses.

    boundary: anchors that leave the image
    by that much are not trained on; negative keeps all. The loss is divided by the wanted sample size.
    """

    def __init__(
        self,
        head: RPNHead,
        anchors: AnchorGenerator,
        *,
        in_features: Sequence[str],
        matcher: Matcher,
        sampler: Sampler,
        box_loss: BoxLoss,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_threshold: float,
        min_size: float,
        boundary: float,
        loss_weight: float,
    ) -> None:
        super().__init__()
        self.rpn_head, self.anchor_generator = head, anchors
        self.in_features, self.matcher, self.sampler = tuple(in_features), matcher, sampler
        self.box_loss, self.coder, self.loss_weight = box_loss, box_loss.coder, loss_weight
        # The pairs are (training, evaluation).
        self.pre_nms_topk, self.post_nms_topk = pre_nms_topk, post_nms_topk
        self.nms_threshold, self.min_size, self.boundary = nms_threshold, min_size, boundary

    def forward(
        self, features: Mapping[str, Tensor], sizes: Sequence[Size], gt_boxes: Sequence[Tensor] | None
    ) -> tuple[list[Proposals], dict[str, Tensor]]:
        """Proposals of each image and, in training, where ``gt_boxes`` are needed, the two losses."""
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, offsets = self.rpn_head(maps)
        found: dict[str, Tensor] = {}
        if self.training and gt_boxes is not None:
            labels, targets = self.label_anchors(torch.cat(anchors), sizes, gt_boxes)
            found = self._losses(torch.cat(anchors), logits, offsets, labels, targets)
        return self._propose(anchors, logits, offsets, sizes), found

    @torch.no_grad()
    def label_anchors(
        self, anchors: Tensor, sizes: Sequence[Size], gt_boxes: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Labels (images, A), 1 and 0 for sampled anchors and -1 for the rest; their boxes (images, A, 4)."""
        labels, targets = [], []
        for size, boxes in zip(sizes, gt_boxes, strict=True):
            matches, label = self.matcher(box_ops.pairwise_iou(boxes, anchors))
            if self.boundary >= 0:
                label[~box_ops.inside(anchors, size, self.boundary)] = -1
            positive, negative = self.sampler(label)
            label.fill_(-1)
            label[positive], label[negative] = 1, 0
            labels.append(label)
            targets.append(boxes[matches] if len(boxes) else torch.zeros_like(anchors))
        return torch.stack(labels), torch.stack(targets)

    def _losses(
        self, anchors: Tensor, logits: list[Tensor], offsets: list[Tensor], labels: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        positive, sampled = labels == 1, labels >= 0
        samples = self.sampler.size * len(labels)
        sources = anchors.expand(len(labels), -1, -1)[positive]
        box_loss = self.box_loss(sources, torch.cat(offsets, dim=1)[positive], targets[positive], samples)
        class_loss = F.binary_cross_entropy_with_logits(
            torch.cat(logits, dim=1)[sampled], labels[sampled].float(), reduction="sum"
        )
        return {"loss_rpn_cls": class_loss / samples * self.loss_weight, "loss_rpn_loc": box_loss}

    @torch.no_grad()
    def _propose(
        self, anchors: list[Tensor], logits: list[Tensor], offsets: list[Tensor], sizes: Sequence[Size]
    ) -> list[Proposals]:
        images = len(sizes)
        decoded = [
            self.coder.decode(o.reshape(-1, 4), a.expand(images, -1, -1).reshape(-1, 4)).view(images, -1, 4)
            for a, o in zip(anchors, offsets, strict=True)
        ]
        mode = 0 if self.training else 1
        return find_top_proposals(
            decoded,
            logits,
            sizes,
            pre_nms_topk=self.pre_nms_topk[mode],
            post_nms_topk=self.post_nms_topk[mode],
            nms_threshold=self.nms_threshold,
            min_size=self.min_size,
        )


def _numbered(convs: Sequence[nn.Module]) -> nn.Sequential:
    chain = nn.Sequential()
    for number, conv in enumerate(convs):
        chain.add_module(f"conv{number}", conv)
    return chain


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
