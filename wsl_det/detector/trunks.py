"""Trunks beside Detectron2's own: MODEL.TIMM to a pyramid that both engines build alike."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det.backbone import artifact, batch_norm
from wsl_det.backbone.pyramids import FPN, Pyramid, SimplePyramid, Trunk
from wsl_det.core import checkpoint
from wsl_det.core.config import Config
from wsl_det.detector.defaults import TREE
from wsl_det.errors import ConfigError

TIMM = "build_timm_fpn_backbone"
_FROZEN = {"True": True, "False": False}


def is_timm(cfg: Any) -> bool:
    """Whether the trunk is one of timm's."""
    return bool(cfg.MODEL.BACKBONE.NAME == TIMM)


def build(cfg: Any) -> Pyramid:
    """The trunk of MODEL.TIMM under the pyramid that its strides ask for; ``cfg`` is ours or Detectron2's.

    Several strides make an FPN, a single one ViTDet's simple pyramid. Raises ConfigError.
    """
    from wsl_det.backbone.timm_trunk import TimmTrunk

    timm = cfg.MODEL.TIMM
    if not timm.NAME:
        raise ConfigError("MODEL.TIMM.NAME is empty; give a model of timm's, such as convnext_tiny.fb_in22k")
    trunk = TimmTrunk(
        timm.NAME,
        out_features=timm.OUT_FEATURES,
        freeze_at=timm.FREEZE_AT,
        frozen_norm=frozen_norm(cfg),
        drop_path=timm.DROP_PATH,
        checkpointing=timm.CHECKPOINTING,
    )
    if len(trunk.strides) == 1:
        return SimplePyramid(trunk, channels=cfg.MODEL.FPN.OUT_CHANNELS)
    used = list(cfg.MODEL.FPN.IN_FEATURES) or list(trunk.strides)
    steps = [trunk.strides.get(name, 0) for name in used]
    if 0 in steps or any(after != 2 * before for before, after in itertools.pairwise(steps)):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES {used} over timm's {timm.NAME}, which offers {list(trunk.strides)}: a "
            "pyramid needs neighbours among them, from fine to coarse"
        )
    return pyramid(cfg, trunk, used)


def settled(cfg: Config) -> Config:
    """``cfg`` with ``pixels`` in it."""
    if (found := pixels(cfg)) is None:
        return cfg
    order, mean, std = found
    return cfg.override(INPUT__FORMAT=order, MODEL__PIXEL_MEAN=mean, MODEL__PIXEL_STD=std)


def pixels(cfg: Any) -> tuple[str, list[float], list[float]] | None:
    """(INPUT.FORMAT, PIXEL_MEAN, PIXEL_STD) that a trunk of timm's wants where ``cfg`` leaves the defaults.

    Detectron2's defaults are of another trunk. They are those of the weights' artifact or detector, else of
    timm's configuration of the name; None where there is nothing to set.
    """
    if not is_timm(cfg) or not cfg.MODEL.TIMM.NAME or _pixels(cfg) != _pixels(Config(TREE)):
        return None
    told = told_by(cfg.MODEL.WEIGHTS)
    known = told.get("config", told)
    if "pixel_mean" in known:
        order, mean, std = (known[key] for key in ("channel_order", "pixel_mean", "pixel_std"))
    elif "MODEL" in known:
        order, (mean, std) = known["INPUT"]["FORMAT"], (known["MODEL"][f"PIXEL_{k}"] for k in ("MEAN", "STD"))
    else:
        from wsl_det.backbone import timm_models

        config = timm_models.declared(cfg.MODEL.TIMM.NAME).config
        order, (mean, std) = "RGB", (timm_models.of_255(config[key]) for key in ("mean", "std"))
    return str(order), list(mean), list(std)


def _pixels(cfg: Any) -> tuple[Any, ...]:
    return cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD)


def pyramid(cfg: Any, trunk: Trunk, in_features: Sequence[str]) -> FPN:
    """Detectron2's FPN over several maps of a trunk."""
    fpn = cfg.MODEL.FPN
    return FPN(trunk, in_features=in_features, channels=fpn.OUT_CHANNELS, norm=fpn.NORM, fuse=fpn.FUSE_TYPE)


def frozen_norm(cfg: Any) -> bool:
    """Whether the batch norms of MODEL.TIMM stay as they are: what FREEZE_NORM says, or ``auto``.

    With ``auto`` they learn where nothing has trained them yet: without weights, or from an artifact
    certified as ``bn: initial``.
    """
    told = str("auto" if cfg.MODEL.TIMM.FREEZE_NORM is None else cfg.MODEL.TIMM.FREEZE_NORM)
    if told != "auto" and told not in _FROZEN:
        raise ConfigError(f"MODEL.TIMM.FREEZE_NORM is {told!r}; expected auto, True or False")
    return _FROZEN[told] if told in _FROZEN else _state(cfg.MODEL.WEIGHTS) not in (None, batch_norm.INITIAL)


def _state(weights: str) -> str | None:
    """The state of the batch norms in a file of weights: an artifact's, or that a detector started from."""
    if not weights or not Path(weights).is_file():
        return None
    told = told_by(weights)
    return str((told.get("backbone") or told).get("bn", batch_norm.STATISTICS))


def told_by(weights: str) -> Mapping[str, Any]:
    """What a file of weights says about itself: an artifact's ``meta``, a detector's header, or nothing."""
    if not weights or not Path(weights).is_file() or weights.endswith(".pkl"):
        return {}
    payload = checkpoint.load_weights(weights)
    told = payload.get("meta") if artifact.looks_like(payload) else payload.get("wsl_det")
    return told if isinstance(told, Mapping) else {}
