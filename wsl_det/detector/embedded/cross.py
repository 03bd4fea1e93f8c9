"""Cross-scoring (docs/method.md): boxes and masks of one model, classes from another's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded.boxes import Size
from wsl_det.detector.embedded.mask_rcnn import Found, MaskRCNN
from wsl_det.detector.types import Example


@dataclass(frozen=True)
class View:
    """What one model made of a batch: pyramid, input sizes, proposals (N, 4) per image, box offsets, classes.

    probabilities: (sum of N, K + 1) of its own head on its own proposals.
    """

    features: dict[str, Tensor]
    sizes: list[Size]
    proposals: list[Tensor]
    offsets: Tensor
    probabilities: Tensor


@torch.no_grad()
def score_crosswise(
    models: Sequence[MaskRCNN], batches: Sequence[Sequence[Example]]
) -> list[list[list[Found]]]:
    """``found[x][y]``: proposals, boxes, masks, suppression and limits of model x; class probabilities of y.

    ``batches`` hold the same images, each as its model wants them: its own size, channel order and
    pixel statistics. Proposals travel between the models' frames by the ratio of the image sizes.
    found[x][x] is exactly what model x alone returns. Models are in evaluation mode.
    """
    views = [_view(model, batch) for model, batch in zip(models, batches, strict=True)]
    return [
        [_detect(models, views, x, y, batches[x]) for y in range(len(models))] for x in range(len(models))
    ]


def _view(model: MaskRCNN, batch: Sequence[Example]) -> View:
    images, sizes = model.normalise([example.image for example in batch])
    features = model.backbone(images)
    proposals = [p.boxes for p in model.proposal_generator(features, sizes, None)[0]]
    logits, offsets = model.roi_heads.predict(features, proposals)
    return View(features, sizes, proposals, offsets, model.roi_heads.box_predictor.probabilities(logits))


def _detect(
    models: Sequence[MaskRCNN], views: Sequence[View], x: int, y: int, batch: Sequence[Example]
) -> list[Found]:
    own, heads = views[x], models[x].roi_heads
    probabilities = own.probabilities if x == y else _probabilities(models[y], views[y], own)
    detections = heads.box_predictor.detect_scored(
        probabilities.to(own.offsets.device), own.offsets, own.proposals, own.sizes
    )
    return models[x].finish(own.features, detections, own.sizes, batch)


def _probabilities(model: MaskRCNN, view: View, other: View) -> Tensor:
    """Class probabilities of ``model`` on the proposals of ``other``, taken to its own frame."""
    pairs = zip(other.proposals, other.sizes, view.sizes, strict=True)
    boxes = [_in_frame(proposals, theirs, ours).to(view.offsets.device) for proposals, theirs, ours in pairs]
    return model.roi_heads.box_predictor.probabilities(model.roi_heads.predict(view.features, boxes)[0])


def _in_frame(boxes: Tensor, old: Size, new: Size) -> Tensor:
    scale_y, scale_x = new[0] / old[0], new[1] / old[1]
    return box_ops.clip(boxes * boxes.new_tensor([scale_x, scale_y, scale_x, scale_y]), new)
