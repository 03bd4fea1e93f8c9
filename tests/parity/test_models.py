"""Whole models: keys, features, losses, gradients, detections, in many configurations."""

from __future__ import annotations

from typing import Any

import pytest
import scenes
import torch
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from wsl_det.detector import trunks
from wsl_det.detector.embedded import inference
from wsl_det.detector.engine import select_engine
from wsl_det.errors import EngineError

VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "faster_rcnn": {"MASK_ON": False},
    "basic_blocks_bn": {
        "RESNETS__DEPTH": 18, "RESNETS__NUM_GROUPS": 1, "RESNETS__WIDTH_PER_GROUP": 64,
        "RESNETS__RES2_OUT_CHANNELS": 64, "RESNETS__NORM": "BN", "BACKBONE__FREEZE_AT": 0,
    },
    "bn_partly_frozen": {"RESNETS__NORM": "BN", "BACKBONE__FREEZE_AT": 3},
    "stride_in_1x1": {"RESNETS__STRIDE_IN_1X1": True},
    "gn_everywhere": {
        "RESNETS__NORM": "GN", "FPN__NORM": "GN", "ROI_MASK_HEAD__NORM": "GN", "ROI_BOX_HEAD__NORM": "GN",
        "ROI_BOX_HEAD__NUM_CONV": 2, "ROI_BOX_HEAD__CONV_DIM": 32, "ROI_BOX_HEAD__NUM_FC": 1,
        "RESNETS__STEM_OUT_CHANNELS": 32, "RESNETS__NUM_GROUPS": 4, "RESNETS__WIDTH_PER_GROUP": 8,
        "BACKBONE__FREEZE_AT": 0,
    },
    "fpn_average": {"FPN__FUSE_TYPE": "avg", "FPN__OUT_CHANNELS": 16},
    "three_levels": {
        "FPN__IN_FEATURES": ["res3", "res4", "res5"], "RPN__IN_FEATURES": ["p3", "p4", "p5", "p6"],
        "ROI_HEADS__IN_FEATURES": ["p3", "p4"], "ANCHOR_GENERATOR__SIZES": [[8, 16, 32, 64]],
        "ANCHOR_GENERATOR__OFFSET": 0.5,
    },
    "one_pooling_level": {"ROI_HEADS__IN_FEATURES": ["p3"]},
    "agnostic": {"ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": True, "ROI_MASK_HEAD__CLS_AGNOSTIC_MASK": True},
    "sigmoid": {"ROI_BOX_HEAD__USE_SIGMOID_CE": True},
    "smooth_l1": {
        "RPN__SMOOTH_L1_BETA": 0.1111, "ROI_BOX_HEAD__SMOOTH_L1_BETA": 1.0,
        "ROI_BOX_HEAD__POOLER_TYPE": "ROIAlign",
        "ROI_MASK_HEAD__POOLER_TYPE": "ROIAlign", "ROI_BOX_HEAD__POOLER_SAMPLING_RATIO": 2,
        "ROI_MASK_HEAD__POOLER_SAMPLING_RATIO": 2,
    },
    "giou": {"RPN__BBOX_REG_LOSS_TYPE": "giou", "ROI_BOX_HEAD__BBOX_REG_LOSS_TYPE": "giou"},
    "diou": {"RPN__BBOX_REG_LOSS_TYPE": "diou", "ROI_BOX_HEAD__BBOX_REG_LOSS_TYPE": "diou"},
    "ciou": {"RPN__BBOX_REG_LOSS_TYPE": "ciou", "ROI_BOX_HEAD__BBOX_REG_LOSS_TYPE": "ciou"},
    "roi_pool": {"ROI_BOX_HEAD__POOLER_TYPE": "ROIPool", "ROI_MASK_HEAD__POOLER_TYPE": "ROIPool"},
    "rpn_options": {
        "RPN__BOUNDARY_THRESH": 0, "RPN__CONV_DIMS": [24, -1], "RPN__LOSS_WEIGHT": 0.7,
        "RPN__BBOX_REG_LOSS_WEIGHT": 1.3, "RPN__IOU_THRESHOLDS": [0.2, 0.6], "RPN__POSITIVE_FRACTION": 0.25,
        "RPN__BBOX_REG_WEIGHTS": [2.0, 2.0, 1.0, 1.0], "PROPOSAL_GENERATOR__MIN_SIZE": 6,
        "RPN__NMS_THRESH": 0.5,
    },
    "heads_options": {
        "ROI_HEADS__IOU_THRESHOLDS": [0.2, 0.4], "ROI_HEADS__IOU_LABELS": [0, -1, 1],
        "RPN__POST_NMS_TOPK_TRAIN": 1500,
        "ROI_HEADS__PROPOSAL_APPEND_GT": False, "ROI_HEADS__POSITIVE_FRACTION": 0.5,
        "ROI_BOX_HEAD__TRAIN_ON_PRED_BOXES": True, "ROI_BOX_HEAD__BBOX_REG_LOSS_WEIGHT": 2.0,
        "ROI_BOX_HEAD__BBOX_REG_WEIGHTS": [5.0, 5.0, 2.0, 2.0], "ROI_HEADS__NMS_THRESH_TEST": 0.3,
    },
    **{
        f"timm_{name}": {
            "BACKBONE__NAME": trunks.TIMM, "TIMM__NAME": f"test_{name}", **more,
        }
        for name, more in {
            "resnet": {"TIMM__FREEZE_NORM": "True", "TIMM__FREEZE_AT": 2},
            "efficientnet": {},
            "convnext": {"TIMM__CHECKPOINTING": True},
            "vit": {"TIMM__FREEZE_AT": 1},
        }.items()
    },
}  # fmt: skip
FLOAT32_SWITCHES = inference.Switches(fold_bn=True, channels_last=True, class_masks=True)
variants = pytest.mark.parametrize("name", VARIANTS)

# Where the operations are the same, exact; these losses go through torchvision's twin of fvcore's
# code, which multiplies out in another order.
REORDERED = {"giou", "diou", "ciou"}


def _same(name: str, ours: torch.Tensor, theirs: torch.Tensor, what: str, rtol: float = 1e-5) -> None:
    if name in REORDERED:
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-7, msg=lambda m: f"{name}, {what}: {m}")
    else:
        assert torch.equal(ours, theirs), f"{name}, {what}: {(ours - theirs).abs().max()}"


@variants
def test_keys_and_shapes(pair: Any, name: str) -> None:
    (_, ours), (_, theirs) = pair(**VARIANTS[name])
    assert _layout(ours.state_dict()) == _layout(theirs.state_dict())
    assert _trainable(ours) == _trainable(theirs)


@variants
def test_features(pair: Any, name: str) -> None:
    (_, ours), (their_engine, theirs) = pair(**VARIANTS[name])
    examples = scenes.batch(0)
    images, sizes = ours.normalise([e.image for e in examples])
    image_list = theirs.preprocess_image(their_engine.encode(examples))
    assert torch.equal(images, image_list.tensor)
    assert sizes == [tuple(s) for s in image_list.image_sizes]
    for mode in (True, False):
        pyramid, wanted = ours.train(mode).backbone(images), theirs.train(mode).backbone(images)
        assert list(pyramid) == list(wanted)
        assert all(torch.equal(pyramid[level], wanted[level]) for level in wanted)


@variants
@pytest.mark.parametrize("bitmaps", [False, True])
def test_losses_and_gradients(pair: Any, name: str, bitmaps: bool) -> None:
    ours, theirs = pair(**VARIANTS[name])
    examples = scenes.batch(1, bitmaps=bitmaps)
    losses = scenes.run_losses(*ours, examples, seed=11)
    wanted = scenes.run_losses(*theirs, examples, seed=11)
    assert list(losses) == list(wanted)
    for key, value in wanted.items():
        _same(name, losses[key], value, key)
        assert torch.isfinite(value) and (value > 0)
    sum(losses.values()).backward()
    sum(wanted.values()).backward()
    gradients = dict(theirs[1].named_parameters())
    for key, parameter in ours[1].named_parameters():
        assert (parameter.grad is None) == (gradients[key].grad is None), key
        if parameter.grad is not None:
            # A gradient that is a difference of large terms keeps only their absolute precision.
            _same(name, parameter.grad, gradients[key].grad, key, rtol=1e-3)


@variants
def test_detections(pair: Any, name: str) -> None:
    (our_engine, ours), (their_engine, theirs) = pair(**VARIANTS[name])
    examples = scenes.batch(2)
    with torch.no_grad():
        found = our_engine.decode(ours.eval()(our_engine.encode(examples)))
        wanted = their_engine.decode(theirs.eval()(their_engine.encode(examples)))
    assert sum(len(w.scores) for w in wanted) > 20
    assert len(torch.cat([w.classes for w in wanted]).unique()) > 1
    for mine, other in zip(found, wanted, strict=True):
        assert torch.equal(mine.boxes_xyxy, other.boxes_xyxy)
        assert torch.equal(mine.scores, other.scores)
        assert torch.equal(mine.classes, other.classes)
        assert mine.masks == other.masks
    if ours.roi_heads.mask_head is not None:
        assert any(len(mask["counts"]) > 8 for w in wanted for mask in w.masks)


@variants
def test_detections_with_the_switches_for_speed(pair: Any, name: str) -> None:
    """Everything on that stays in float32: boxes and scores to 1e-4 of the largest value."""
    (our_engine, ours), (their_engine, theirs) = pair(**VARIANTS[name])
    fast = inference.prepare(ours.eval(), FLOAT32_SWITCHES)
    examples = scenes.batch(2)
    with torch.no_grad():
        found = our_engine.decode(fast(our_engine.encode(examples)))
        wanted = their_engine.decode(theirs.eval()(their_engine.encode(examples)))
    for mine, other in zip(found, wanted, strict=True):
        # Scores that differ in the fifth digit may change places: who is whose is asked of the boxes.
        distance = torch.cdist(mine.boxes_xyxy, other.boxes_xyxy, p=float("inf"))
        distance += 1e6 * (mine.classes[:, None] != other.classes)
        order = torch.from_numpy(linear_sum_assignment(distance.T)[1])
        assert torch.equal(mine.classes[order], other.classes)
        for ours_, theirs_ in ((mine.boxes_xyxy, other.boxes_xyxy), (mine.scores, other.scores)):
            assert (ours_[order] - theirs_).abs().max() <= 1e-4 * theirs_.abs().max()
        for place, b in zip(order, other.masks or [], strict=other.masks is not None):
            ours_, theirs_ = coco_mask.decode((mine.masks or [])[place]), coco_mask.decode(b)
            # Pixels at the threshold may fall to either side.
            assert (ours_ != theirs_).sum() <= 2 + 0.05 * theirs_.sum()


def test_detectron2_refuses_switches_that_it_does_not_have() -> None:
    cfg = scenes.config()
    cfg = cfg.override(WSL_DET__INFERENCE__FOLD_BN=True)
    with pytest.raises(EngineError, match=r"WSL_DET\.INFERENCE\.FOLD_BN True.*--engine embedded"):
        select_engine("detectron2")(cfg)


def _layout(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _trainable(model: torch.nn.Module) -> list[str]:
    return [key for key, parameter in model.named_parameters() if parameter.requires_grad]
