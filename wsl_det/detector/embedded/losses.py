"""Losses of boxes and classes; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from wsl_det.detector.embedded.boxes import BoxCoder

_OVERLAP_LOSSES: dict[str, Callable[..., Tensor]] = {
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
BOX_LOSSES = ("smooth_l1", *_OVERLAP_LOSSES)


def smooth_l1(predicted: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Sum of |d| - beta / 2, or d² / (2 beta) below ``beta``; beta 0 is plain L1."""
    distance = torch.abs(predicted - wanted)
    # Below this fvcore, whose loss Detectron2 uses, takes L1: the quadratic part would divide by nothing.
    if beta < 1e-5:
        return distance.sum()
    return torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta).sum()


@dataclass(frozen=True)
class BoxLoss:
    """kind: "smooth_l1" compares offsets; "giou", "diou" and "ciou" compare decoded boxes."""

    coder: BoxCoder
    kind: str
    beta: float = 0.0
    weight: float = 1.0

    def __call__(self, sources: Tensor, offsets: Tensor, targets: Tensor, count: int) -> Tensor:
        """Weighted sum over N boxes by ``count`` of ``offsets`` from ``sources``, ``targets`` being right."""
        if self.kind == "smooth_l1":
            summed = smooth_l1(offsets, self.coder.encode(sources, targets), self.beta)
        else:
            decoded = self.coder.decode(offsets, sources)
            summed = _OVERLAP_LOSSES[self.kind](decoded, targets, reduction="sum")
        return summed / count * self.weight


def softmax_classification(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross entropy of (N, K + 1) logits; 0, still attached to the graph, without boxes."""
    if classes.numel() == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, classes)


def sigmoid_classification(logits: Tensor, classes: Tensor) -> Tensor:
    """Binary cross entropy of each of the K classes, summed over classes, mean over boxes.

    The last logit, background, takes no part; a background box is a negative of all K.
    """
    if logits.numel() == 0:
        return logits.sum() * 0.0
    wanted = F.one_hot(classes, logits.shape[1])[:, :-1].to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits[:, :-1], wanted, reduction="none")
    return each.sum() / logits.shape[0]
