"""The second stage: choose proposals, pool them, predict classes, boxes and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded import mask_ops
from wsl_det.detector.embedded.box_head import BoxHead, BoxPredictor, Detections
from wsl_det.detector.embedded.mask_head import MaskHead, mask_loss
from wsl_det.detector.embedded.matcher import Matcher, Sampler
from wsl_det.detector.embedded.pooler import Pooler
from wsl_det.detector.embedded.rpn import Proposals
from wsl_det.detector.types import Target


@dataclass(frozen=True)
class Samples:
    """Proposals of one image chosen for training, N of them.

    boxes: (N, 4). classes: (N,) int64, the number of classes for background. objects: (N,) int64,
    the object each belongs to, which for background says nothing.
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor


class ROIHeads(nn.Module):
    """Box branch and, if given, mask branch, each with a pooler of its own.

    sampler chooses the proposals to train on; append_gt puts the true boxes among them.
    train_on_predicted: the mask branch trains on the boxes the box branch predicts.
    """

    def __init__(
        self,
        *,
        in_features: Sequence[str],
        box_pooler: Pooler,
        box_head: BoxHead,
        box_predictor: BoxPredictor,
        mask_pooler: Pooler | None,
        mask_head: MaskHead | None,
        matcher: Matcher,
        sampler: Sampler,
        append_gt: bool,
        train_on_predicted: bool,
    ) -> None:
        super().__init__()
        self.in_features, self.matcher, self.sampler = tuple(in_features), matcher, sampler
        self.box_pooler, self.box_head, self.box_predictor = box_pooler, box_head, box_predictor
        self.mask_pooler, self.mask_head = mask_pooler, mask_head
        self.num_classes = box_predictor.num_classes
        self.append_gt, self.train_on_predicted = append_gt, train_on_predicted

    def losses(
        self, features: Mapping[str, Tensor], proposals: Sequence[Proposals], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Losses of both branches on a sample of the proposals; targets live on the model's device."""
        maps = [features[name] for name in self.in_features]
        samples = [self.sample(p.boxes, t) for p, t in zip(proposals, targets, strict=True)]
        boxes, classes = torch.cat([s.boxes for s in samples]), torch.cat([s.classes for s in samples])
        logits, offsets = self.predict(features, [s.boxes for s in samples])
        gt_boxes = torch.cat([_boxes_of(s, t) for s, t in zip(samples, targets, strict=True)])
        found = self.box_predictor.losses(logits, offsets, boxes, gt_boxes, classes)
        if self.mask_head is not None:
            if self.train_on_predicted:
                predicted = self.box_predictor.boxes_of_classes(offsets.detach(), boxes, classes)
                split = predicted.split([len(s.boxes) for s in samples])
                samples = [Samples(b, s.classes, s.objects) for b, s in zip(split, samples, strict=True)]
            found["loss_mask"] = self._mask_loss(maps, samples, targets)
        return found

    def detect(self, features: Mapping[str, Tensor], proposals: Sequence[Proposals]) -> list[Detections]:
        """Boxes, scores and classes of each image."""
        boxes = [p.boxes for p in proposals]
        logits, offsets = self.predict(features, boxes)
        return self.box_predictor.detect(logits, offsets, boxes, [p.size for p in proposals])

    def predict(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits and box offsets of boxes (N, 4) per image, in pixels of the model's input."""
        maps = [features[name] for name in self.in_features]
        return self.box_predictor(self.box_head(self.box_pooler(maps, boxes)))

    def masks(self, features: Mapping[str, Tensor], found: Sequence[Detections]) -> list[Tensor] | None:
        """Mask probabilities (N, M, M) of each image's detections; None without a mask branch."""
        if self.mask_head is None or self.mask_pooler is None:
            return None
        maps = [features[name] for name in self.in_features]
        pooled = self.mask_pooler(maps, [d.boxes for d in found])
        masks = self.mask_head.probabilities(pooled, torch.cat([d.classes for d in found]))
        return list(masks.split([len(d.boxes) for d in found]))

    @torch.no_grad()
    def sample(self, proposals: Tensor, target: Target) -> Samples:
        """A random sample of one image's proposals (N, 4), labelled by overlap with its objects."""
        boxes = torch.cat([proposals, target.boxes_xyxy]) if self.append_gt else proposals
        matches, labels = self.matcher(box_ops.pairwise_iou(target.boxes_xyxy, boxes))
        if len(target.classes):
            classes = target.classes[matches]
            classes[labels == 0] = self.num_classes
            classes[labels == -1] = -1
        else:
            classes = torch.full_like(matches, self.num_classes)
        chosen = torch.cat(self.sampler(classes))
        return Samples(boxes[chosen], classes[chosen], matches[chosen])

    def _mask_loss(
        self, maps: Sequence[Tensor], samples: Sequence[Samples], targets: Sequence[Target]
    ) -> Tensor:
        assert self.mask_head is not None and self.mask_pooler is not None
        positives = [self._positives(s) for s in samples]
        logits = self.mask_head(self.mask_pooler(maps, [s.boxes for s in positives]))
        side = logits.shape[-1]
        wanted = [_masks_in_boxes(s, t, side) for s, t in zip(positives, targets, strict=True)]
        classes = torch.cat([s.classes for s in positives])
        return mask_loss(logits, classes, torch.cat([w.to(logits.device) for w in wanted]))

    def _positives(self, samples: Samples) -> Samples:
        keep = torch.nonzero((samples.classes != -1) & (samples.classes != self.num_classes)).squeeze(1)
        return Samples(samples.boxes[keep], samples.classes[keep], samples.objects[keep])


def _boxes_of(samples: Samples, target: Target) -> Tensor:
    # Without objects every sample is background; its box only has to have a shape.
    return target.boxes_xyxy[samples.objects] if len(target.boxes_xyxy) else samples.boxes


def _masks_in_boxes(samples: Samples, target: Target, side: int) -> Tensor:
    if target.masks is None:
        raise ValueError("MASK_ON needs targets with masks")
    if isinstance(target.masks, Tensor):
        return mask_ops.crop_in_boxes(target.masks[samples.objects], samples.boxes, side)
    polygons = [target.masks[i] for i in samples.objects.tolist()]
    return mask_ops.rasterise_in_boxes(polygons, samples.boxes, side)
