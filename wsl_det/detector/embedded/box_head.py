"""The second stage's box branch: class and box of each proposal (Fast R-CNN), with Detectron2's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from wsl_det.backbone import layers
from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded import losses
from wsl_det.detector.embedded.boxes import Size


class BoxHead(nn.Module):
    """3x3 convolutions, then fully connected layers, each with a ReLU: (N, C, S, S) to (N, channels)."""

    def __init__(
        self,
        channels: int,
        *,
        resolution: int,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        norm: str = "",
    ) -> None:
        super().__init__()
        self.num_convs, self.num_fcs = len(conv_dims), len(fc_dims)
        for number, dim in enumerate(conv_dims, 1):
            self.add_module(f"conv{number}", layers.conv(channels, dim, 3, norm=norm))
            channels = dim
        channels *= resolution**2
        for number, dim in enumerate(fc_dims, 1):
            self.add_module(f"fc{number}", layers.Linear(channels, dim))
            channels = dim
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, self.num_convs + 1):
            x = F.relu_(self.get_submodule(f"conv{number}")(x))
        x = x.flatten(1)
        for number in range(1, self.num_fcs + 1):
            x = F.relu_(self.get_submodule(f"fc{number}")(x))
        return x


@dataclass(frozen=True)
class Detections:
    """What was found in one image: boxes (N, 4), scores (N,), classes (N,) int64, best first."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class BoxPredictor(nn.Module):
    """K + 1 class logits, background last, and box offsets for each class or for all together."""

    def __init__(
        self,
        channels: int,
        *,
        num_classes: int,
        box_loss: losses.BoxLoss,
        class_agnostic: bool,
        sigmoid: bool,
        score_threshold: float,
        nms_threshold: float,
        max_detections: int,
    ) -> None:
        super().__init__()
        self.cls_score = layers.Linear(channels, num_classes + 1)
        self.bbox_pred = layers.Linear(channels, 4 * (1 if class_agnostic else num_classes))
        self.num_classes, self.class_agnostic, self.sigmoid = num_classes, class_agnostic, sigmoid
        self.coder, self.box_loss, self.max_detections = box_loss.coder, box_loss, max_detections
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K + 1) and offsets (N, 4 K), or (N, 4) when class-agnostic."""
        return self.cls_score(x), self.bbox_pred(x)

    def losses(
        self, logits: Tensor, offsets: Tensor, proposals: Tensor, gt_boxes: Tensor, classes: Tensor
    ) -> dict[str, Tensor]:
        """Classification over all proposals; boxes over the positive ones, divided by the number of all.

        classes: (N,), ``num_classes`` for background; ``gt_boxes`` (N, 4) matter for positives only.
        """
        classify = losses.sigmoid_classification if self.sigmoid else losses.softmax_classification
        positive = torch.nonzero((classes >= 0) & (classes < self.num_classes)).squeeze(1)
        if self.class_agnostic:
            chosen = offsets[positive]
        else:
            chosen = offsets.view(-1, self.num_classes, 4)[positive, classes[positive]]
        number = max(classes.numel(), 1)
        box_loss = self.box_loss(proposals[positive], chosen, gt_boxes[positive], number)
        return {"loss_cls": classify(logits, classes), "loss_box_reg": box_loss}

    def boxes_of_classes(self, offsets: Tensor, proposals: Tensor, classes: Tensor) -> Tensor:
        """The box (N, 4) that each proposal predicts for its given class; any class for background."""
        boxes = self.coder.decode(offsets, proposals)
        if self.class_agnostic or self.num_classes == 1:
            return boxes
        index = torch.arange(len(boxes), device=boxes.device)
        return boxes.view(len(boxes), self.num_classes, 4)[index, classes.clamp(0, self.num_classes - 1)]

    def detect(
        self, logits: Tensor, offsets: Tensor, proposals: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[Detections]:
        """Detections of each image: threshold, suppression within each class, the best few."""
        return self.detect_scored(self.probabilities(logits), offsets, proposals, sizes)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities (N, K + 1), background last."""
        return logits.sigmoid() if self.sigmoid else F.softmax(logits, dim=-1)

    def detect_scored(
        self, probabilities: Tensor, offsets: Tensor, proposals: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[Detections]:
        """As ``detect``, with probabilities from wherever they come: cross-scoring takes another model's."""
        counts = [len(p) for p in proposals]
        scores = probabilities.split(counts)
        boxes = self.coder.decode(offsets, torch.cat(list(proposals))).split(counts)
        return [self._detect_in_image(b, s, size) for b, s, size in zip(boxes, scores, sizes, strict=True)]

    def _detect_in_image(self, boxes: Tensor, scores: Tensor, size: Size) -> Detections:
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
        boxes, scores = boxes[finite], scores[finite][:, :-1]
        rows, classes = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        # Not -1: an image without a proposal has nothing to infer the number of classes from.
        per_class = boxes.view(len(boxes), 1 if self.class_agnostic else self.num_classes, 4)
        chosen = box_ops.clip(
            per_class[rows, torch.zeros_like(classes) if self.class_agnostic else classes], size
        )
        chosen_scores = scores[rows, classes]
        keep = batched_nms(chosen.float(), chosen_scores, classes, self.nms_threshold)
        if self.max_detections >= 0:
            keep = keep[: self.max_detections]
        return Detections(chosen[keep], chosen_scores[keep], classes[keep])
