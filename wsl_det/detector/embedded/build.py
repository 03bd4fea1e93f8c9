"""From the configuration to the model: the only file of the embedded engine that reads keys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from wsl_det.backbone.pyramids import Pyramid
from wsl_det.backbone.trunk import BASIC, BLOCKS, ResNet
from wsl_det.core.config import Config
from wsl_det.detector import trunks
from wsl_det.detector.embedded.anchors import AnchorGenerator
from wsl_det.detector.embedded.box_head import BoxHead, BoxPredictor
from wsl_det.detector.embedded.boxes import BoxCoder
from wsl_det.detector.embedded.inference import Switches
from wsl_det.detector.embedded.losses import BOX_LOSSES, BoxLoss
from wsl_det.detector.embedded.mask_head import MaskHead
from wsl_det.detector.embedded.mask_rcnn import MaskRCNN
from wsl_det.detector.embedded.matcher import Matcher, Sampler
from wsl_det.detector.embedded.pooler import POOLERS, Pooler
from wsl_det.detector.embedded.roi_heads import ROIHeads
from wsl_det.detector.embedded.rpn import RPN, RPNHead
from wsl_det.errors import ConfigError, EngineError

_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "GN")
_CONV_NORMS = ("", *_NORMS)

# Only the parts of a Faster or Mask R-CNN over a pyramid: keys of other architectures have no effect
# on this one in Detectron2 either.
_HONOURED: dict[str, tuple[Any, ...]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN",),
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.KEYPOINT_ON": (False,),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone", trunks.TIMM),
    "MODEL.RESNETS.DEPTH": tuple(BLOCKS),
    "MODEL.RESNETS.NORM": _NORMS,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ((False, False, False, False),),
    "MODEL.FPN.NORM": _CONV_NORMS,
    "MODEL.FPN.FUSE_TYPE": ("sum", "avg"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": BOX_LOSSES,
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads",),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.NORM": _CONV_NORMS,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": POOLERS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": BOX_LOSSES,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": (False,),
}
_HONOURED_WITH_MASKS: dict[str, tuple[Any, ...]] = {
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead",),
    "MODEL.ROI_MASK_HEAD.NORM": _CONV_NORMS,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": POOLERS,
}


def build_model(cfg: Config, rng: torch.Generator) -> MaskRCNN:
    """The detector that ``cfg`` describes, on the CPU, its weights NaN until they are loaded or drawn.

    ``rng`` will choose anchors and proposals and lives on the device the model is going to. Raises
    EngineError for what only Detectron2 can do and ConfigError for what nobody can.
    """
    check_honoured(cfg.flat())
    backbone: Pyramid
    if trunks.is_timm(cfg):
        backbone = trunks.build(cfg)
    else:
        backbone = trunks.pyramid(cfg, build_trunk(cfg), cfg.MODEL.FPN.IN_FEATURES)
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    rpn, heads = _build_rpn(cfg, backbone, rng), _build_heads(cfg, backbone, rng)
    return MaskRCNN(backbone, rpn, heads, pixel_mean=mean, pixel_std=std)


def inference_switches(cfg: Config) -> Switches:
    """WSL_DET.INFERENCE."""
    wanted = cfg.WSL_DET.INFERENCE
    if trunks.is_timm(cfg) and wanted.PRECISION != "float32":
        raise EngineError(
            f"WSL_DET.INFERENCE.PRECISION {wanted.PRECISION} knows the layers of a ResNe(X)t, not those of "
            f"timm's {cfg.MODEL.TIMM.NAME}; set it to float32"
        )
    return Switches(
        fold_bn=wanted.FOLD_BN,
        channels_last=wanted.CHANNELS_LAST,
        class_masks=wanted.CLASS_MASKS,
        dtype=getattr(torch, wanted.PRECISION),
    )


def build_trunk(cfg: Config) -> ResNet:
    """The ResNe(X)t of MODEL.RESNETS, its first MODEL.BACKBONE.FREEZE_AT stages frozen."""
    resnets = cfg.MODEL.RESNETS
    basic = resnets.DEPTH in BASIC
    if basic and (resnets.RES2_OUT_CHANNELS != 64 or resnets.NUM_GROUPS != 1 or resnets.RES5_DILATION != 1):
        found = (resnets.RES2_OUT_CHANNELS, resnets.NUM_GROUPS, resnets.RES5_DILATION)
        raise ConfigError(
            f"MODEL.RESNETS.DEPTH {resnets.DEPTH} needs RES2_OUT_CHANNELS 64, NUM_GROUPS 1 and "
            f"RES5_DILATION 1; found {found[0]}, {found[1]} and {found[2]}"
        )
    _check_stages(cfg)
    trunk = ResNet(
        blocks=BLOCKS[resnets.DEPTH],
        block="basic" if basic else "bottleneck",
        groups=resnets.NUM_GROUPS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        stem_channels=resnets.STEM_OUT_CHANNELS,
        res2_channels=resnets.RES2_OUT_CHANNELS,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
        norm=resnets.NORM,
        out_features=resnets.OUT_FEATURES,
        res5_dilation=resnets.RES5_DILATION,
    )
    return trunk.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


def _check_stages(cfg: Config) -> None:
    stages = ("res2", "res3", "res4", "res5")
    used, made = tuple(cfg.MODEL.FPN.IN_FEATURES), cfg.MODEL.RESNETS.OUT_FEATURES
    # The extra level is made of p5, so a pyramid has to reach it.
    if not used or used != stages[-len(used) :] or not set(used) <= set(made):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES {list(used)} over MODEL.RESNETS.OUT_FEATURES {list(made)}: "
            "expected stages in a row that end with res5, such as res2, res3, res4, res5, in both"
        )
    if cfg.MODEL.RESNETS.RES5_DILATION != 1:
        raise ConfigError(
            "MODEL.RESNETS.RES5_DILATION must be 1 under a pyramid: each level halves the one before"
        )


def _build_rpn(cfg: Config, backbone: Pyramid, rng: torch.Generator) -> RPN:
    rpn = cfg.MODEL.RPN
    strides = [_stride(backbone, name, "MODEL.RPN.IN_FEATURES") for name in rpn.IN_FEATURES]
    anchors = AnchorGenerator(
        sizes=_per_level(cfg, "SIZES", len(strides)),
        ratios=_per_level(cfg, "ASPECT_RATIOS", len(strides)),
        strides=strides,
        offset=cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
    )
    if len(set(anchors.per_cell)) != 1:
        raise ConfigError(
            f"MODEL.ANCHOR_GENERATOR gives {anchors.per_cell} anchors per cell on the levels "
            f"{list(rpn.IN_FEATURES)}; expected the same number on each"
        )
    return RPN(
        RPNHead(backbone.channels, num_anchors=anchors.per_cell[0], conv_dims=rpn.CONV_DIMS),
        anchors,
        in_features=rpn.IN_FEATURES,
        matcher=_matcher(cfg, "RPN", rescue=True),
        sampler=Sampler(rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION, 0, rng),
        box_loss=_box_loss(rpn, rpn.LOSS_WEIGHT),
        pre_nms_topk=(rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
        post_nms_topk=(rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
        nms_threshold=rpn.NMS_THRESH,
        min_size=float(cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE),
        boundary=rpn.BOUNDARY_THRESH,
        loss_weight=rpn.LOSS_WEIGHT,
    )


def _build_heads(cfg: Config, backbone: Pyramid, rng: torch.Generator) -> ROIHeads:
    heads, box, mask = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD
    strides = [_stride(backbone, name, "MODEL.ROI_HEADS.IN_FEATURES") for name in heads.IN_FEATURES]
    if any(after != 2 * before for before, after in itertools.pairwise(strides)):
        raise ConfigError(
            f"MODEL.ROI_HEADS.IN_FEATURES {list(heads.IN_FEATURES)}: expected neighbours from fine to coarse"
        )
    box_head = _build_box_head(cfg, backbone.channels)
    mask_dims = [mask.CONV_DIM] * (mask.NUM_CONV + 1)
    return ROIHeads(
        in_features=heads.IN_FEATURES,
        box_pooler=_pooler(box, strides),
        box_head=box_head,
        box_predictor=_build_predictor(cfg, box_head.channels),
        mask_pooler=_pooler(mask, strides) if cfg.MODEL.MASK_ON else None,
        mask_head=MaskHead(
            backbone.channels,
            num_classes=1 if mask.CLS_AGNOSTIC_MASK else heads.NUM_CLASSES,
            dims=mask_dims,
            norm=mask.NORM,
        )
        if cfg.MODEL.MASK_ON
        else None,
        matcher=_matcher(cfg, "ROI_HEADS", rescue=False),
        sampler=Sampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION, heads.NUM_CLASSES, rng),
        append_gt=heads.PROPOSAL_APPEND_GT,
        train_on_predicted=box.TRAIN_ON_PRED_BOXES,
    )


def _build_box_head(cfg: Config, channels: int) -> BoxHead:
    box = cfg.MODEL.ROI_BOX_HEAD
    if box.NUM_CONV + box.NUM_FC == 0:
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD has no layers; set NUM_FC 2 (Detectron2's FPN models), or NUM_CONV"
        )
    return BoxHead(
        channels,
        resolution=box.POOLER_RESOLUTION,
        conv_dims=[box.CONV_DIM] * box.NUM_CONV,
        fc_dims=[box.FC_DIM] * box.NUM_FC,
        norm=box.NORM,
    )


def _build_predictor(cfg: Config, channels: int) -> BoxPredictor:
    heads, box = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
    return BoxPredictor(
        channels,
        num_classes=heads.NUM_CLASSES,
        box_loss=_box_loss(box, 1.0),
        class_agnostic=box.CLS_AGNOSTIC_BBOX_REG,
        sigmoid=box.USE_SIGMOID_CE,
        score_threshold=heads.SCORE_THRESH_TEST,
        nms_threshold=heads.NMS_THRESH_TEST,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
    )


def _box_loss(section: Config, weight: float) -> BoxLoss:
    coder = BoxCoder(section.BBOX_REG_WEIGHTS)
    weight *= section.BBOX_REG_LOSS_WEIGHT
    return BoxLoss(coder, section.BBOX_REG_LOSS_TYPE, section.SMOOTH_L1_BETA, weight)


def _pooler(section: Config, strides: Sequence[int]) -> Pooler:
    return Pooler(
        resolution=section.POOLER_RESOLUTION,
        strides=strides,
        sampling_ratio=section.POOLER_SAMPLING_RATIO,
        kind=section.POOLER_TYPE,
    )


def _matcher(cfg: Config, section: str, *, rescue: bool) -> Matcher:
    thresholds = list(cfg.MODEL[section].IOU_THRESHOLDS)
    labels = list(cfg.MODEL[section].IOU_LABELS)
    legal = len(labels) == len(thresholds) + 1 and thresholds == sorted(thresholds)
    if not legal or not set(labels) <= {-1, 0, 1} or not thresholds or thresholds[0] <= 0:
        raise ConfigError(
            f"MODEL.{section}.IOU_THRESHOLDS {thresholds} with IOU_LABELS {labels}: expected rising "
            "thresholds above 0 and one more label than thresholds, each -1, 0 or 1"
        )
    return Matcher(thresholds, labels, rescue=rescue)


def _stride(backbone: Pyramid, name: str, key: str) -> int:
    if name not in backbone.strides:
        raise ConfigError(f"{key} names {name}; the pyramid has {', '.join(backbone.strides)}")
    return backbone.strides[name]


def _per_level(cfg: Config, key: str, levels: int) -> list[Sequence[float]]:
    """One list per level; a single list, bare or in a list, serves all."""
    values: Any = cfg.MODEL.ANCHOR_GENERATOR[key]
    if values and not isinstance(values[0], list | tuple):
        return [values] * levels
    if len(values) == 1:
        return [values[0]] * levels
    if len(values) != levels:
        raise ConfigError(
            f"MODEL.ANCHOR_GENERATOR.{key} has {len(values)} lists for {levels} levels; "
            f"expected {levels}, or 1"
        )
    return list(values)


def check_honoured(flat: Mapping[str, Any]) -> None:
    """Raise EngineError for the keys (dotted, with lists as values) that only Detectron2 can honour."""
    honoured = {**_HONOURED, **(_HONOURED_WITH_MASKS if flat["MODEL.MASK_ON"] else {})}
    wrong = []
    for key, allowed in honoured.items():
        value = tuple(flat[key]) if isinstance(flat[key], list) else flat[key]
        if value not in allowed:
            wrong.append(f"  {key} is {flat[key]!r}; it can do {' or '.join(repr(a) for a in allowed)}")
    if wrong:
        raise EngineError(
            "the embedded engine cannot honour\n"
            + "\n".join(wrong)
            + "\nchange them, or pass --engine detectron2"
        )
