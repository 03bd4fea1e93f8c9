"""The whole model: normalise, pad, pyramid, proposals, heads; losses in training, detections otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wsl_det.backbone.pyramids import Pyramid
from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded.box_head import Detections
from wsl_det.detector.embedded.boxes import Size
from wsl_det.detector.embedded.roi_heads import ROIHeads
from wsl_det.detector.embedded.rpn import RPN
from wsl_det.detector.types import Example, Target


@dataclass(frozen=True)
class Found:
    """Detections of one image in its original frame, ``size``; masks are still small squares.

    boxes: (N, 4); scores: (N,); classes: (N,) int64; masks: probabilities (N, M, M), or None.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None
    size: Size


class MaskRCNN(nn.Module):
    """Faster or Mask R-CNN over a feature pyramid, with the state_dict keys of Detectron2's.

    ``forward`` takes a list of examples: in training mode it returns a dict of scalar losses, in
    evaluation mode a list of ``Found``. pixel_mean and pixel_std: per channel on the scale 0-255, in
    the examples' channel order; they are not part of the state_dict.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Pyramid,
        rpn: RPN,
        roi_heads: ROIHeads,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone, self.proposal_generator, self.roi_heads = backbone, rpn, roi_heads
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, batch: Sequence[Example]) -> dict[str, Tensor] | list[Found]:
        images, sizes = self.normalise([example.image for example in batch])
        features = self.backbone(images)
        if not self.training:
            return self._detect(features, sizes, batch)
        targets = [self._target(example) for example in batch]
        proposals, rpn_losses = self.proposal_generator(features, sizes, [t.boxes_xyxy for t in targets])
        return {**self.roi_heads.losses(features, proposals, targets), **rpn_losses}

    def normalise(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Normalised images in one batch, zeros to the right and below; and their sizes without them."""
        device, step = self.pixel_mean.device, self.backbone.size_divisibility
        sizes: list[Size] = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (-(-max(side) // step) * step for side in zip(*sizes, strict=True))
        # Padded after normalisation, as in Detectron2: the border is the mean colour, not black.
        batch = self.pixel_mean.new_zeros((len(images), len(self.pixel_mean), height, width))
        for padded, image, size in zip(batch, images, sizes, strict=True):
            normal = (image.to(device) - self.pixel_mean) / self.pixel_std
            padded[:, : size[0], : size[1]].copy_(normal)
        return batch, sizes

    def _target(self, example: Example) -> Target:
        if example.target is None:
            raise ValueError(
                f"image {example.image_id} has no target; training needs one, if only an empty one"
            )
        target, device = example.target, self.pixel_mean.device
        return replace(
            target,
            boxes_xyxy=target.boxes_xyxy.to(device, torch.float32).reshape(-1, 4),
            classes=target.classes.to(device),
            masks=target.masks.to(device) if isinstance(target.masks, Tensor) else target.masks,
        )

    def _detect(
        self, features: dict[str, Tensor], sizes: list[Size], batch: Sequence[Example]
    ) -> list[Found]:
        proposals, _ = self.proposal_generator(features, sizes, None)
        return self.finish(features, self.roi_heads.detect(features, proposals), sizes, batch)

    def finish(
        self,
        features: dict[str, Tensor],
        detections: Sequence[Detections],
        sizes: list[Size],
        batch: Sequence[Example],
    ) -> list[Found]:
        """Detections in pixels of the model's input, given masks and taken to the original frames."""
        masks = self.roi_heads.masks(features, detections)
        return [
            _in_original_frame(
                Found(d.boxes, d.scores, d.classes, masks[i] if masks else None, sizes[i]),
                (batch[i].height, batch[i].width),
            )
            for i, d in enumerate(detections)
        ]


def _in_original_frame(found: Found, size: Size) -> Found:
    """Stretch boxes from the model's input to ``size``, cut them at its border, drop what is left empty."""
    scale_y, scale_x = size[0] / found.size[0], size[1] / found.size[1]
    boxes = box_ops.clip(found.boxes * found.boxes.new_tensor([scale_x, scale_y, scale_x, scale_y]), size)
    keep = box_ops.nonempty(boxes)
    masks = None if found.masks is None else found.masks[keep]
    return Found(boxes[keep], found.scores[keep], found.classes[keep], masks, size)
