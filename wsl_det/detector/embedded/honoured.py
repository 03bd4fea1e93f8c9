"""Which values of Detectron2's keys the embedded engine can honour; the others need Detectron2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsl_det.backbone.trunk import BLOCKS
from wsl_det.detector.embedded.losses import BOX_LOSSES
from wsl_det.detector.embedded.pooler import POOLERS
from wsl_det.errors import EngineError

_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "GN")
_CONV_NORMS = ("", *_NORMS)

# Only the parts of a Faster or Mask R-CNN over a pyramid: keys of other architectures have no effect
# on this one in Detectron2 either.
_HONOURED: dict[str, tuple[Any, ...]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN",),
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.KEYPOINT_ON": (False,),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone",),
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


def check(flat: Mapping[str, Any]) -> None:
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
