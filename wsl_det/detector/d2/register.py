"""timm's trunks in stock Detectron2: ``add_config``, ``build_optimizer`` and the registered backbone.

``register.add_config(cfg)`` before ``merge_from_file("configs/timm_mask_rcnn.yaml")`` and
``register.settle(cfg)`` behind it; a trainer's ``build_optimizer = staticmethod(register.build_optimizer)``.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch.optim.optimizer import register_optimizer_step_pre_hook

from wsl_det.backbone import artifact, transfer
from wsl_det.backbone.pyramids import FPN, Pyramid, SimplePyramid
from wsl_det.detector import initial, solver, trunks
from wsl_det.detector.defaults import TREE
from wsl_det.errors import ConfigError

_ASKS = "_wsl_det_asks"


def add_config(cfg: CfgNode) -> None:
    """Give a stock configuration the keys of ``timm_*.yaml``, with their defaults."""
    cfg.MODEL.TIMM = CfgNode(TREE["MODEL"]["TIMM"])
    # A text that reads as True would not fit a text: None takes both.
    cfg.MODEL.TIMM.FREEZE_NORM = None
    cfg.SOLVER.OPTIMIZER, cfg.SOLVER.LAYER_DECAY = TREE["SOLVER"]["OPTIMIZER"], TREE["SOLVER"]["LAYER_DECAY"]


def settle(cfg: CfgNode) -> None:
    """Set INPUT.FORMAT, PIXEL_MEAN and PIXEL_STD as the trunk wants them, where they have their defaults."""
    if (found := trunks.pixels(cfg)) is not None:
        cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = found


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser that SOLVER.OPTIMIZER and SOLVER.LAYER_DECAY ask for, over Detectron2's or timm's groups.

    Gradients are clipped as Detectron2 does it, in the optimiser's step.
    """
    from detectron2.solver.build import maybe_add_gradient_clipping

    made = solver.optimizer(cfg, model)
    clipped = maybe_add_gradient_clipping(cfg, made)
    clipped.as_asked = True
    return clipped


class _Registered(Backbone):
    """A pyramid of ours as Detectron2's backbones are asked."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        assert isinstance(self, Pyramid)
        return {k: ShapeSpec(channels=self.channels, stride=stride) for k, stride in self.strides.items()}


class _FPN(FPN, _Registered):
    pass


class _SimplePyramid(SimplePyramid, _Registered):
    pass


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """The same module as the embedded engine's, its pyramid drawn from torch's global generator."""
    _check_artifact(cfg)
    made: Any = trunks.build(cfg)
    made.__class__ = _FPN if isinstance(made, FPN) else _SimplePyramid
    initial.draw(made, int(torch.randint(2**31 - 1, ())), "backbone.")
    if (asked := (cfg.SOLVER.OPTIMIZER, cfg.SOLVER.LAYER_DECAY)) != ("SGD", 1.0):
        for parameter in made.parameters():
            setattr(parameter, _ASKS, asked)
    return made


def _check_artifact(cfg: CfgNode) -> None:
    """Detectron2's checkpointer asks an artifact for nothing but its tensors."""
    meta = trunks.told_by(cfg.MODEL.WEIGHTS)
    if "arch" not in meta:
        return
    wrong = ["it is no trunk of timm's"]
    if artifact.is_timm(meta):
        timm, pixels = cfg.MODEL.TIMM, (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        frozen = trunks.frozen_norm(cfg)
        wrong = transfer.timm_disagreements(
            meta, pixels, timm.NAME, frozen_norm=frozen, freeze_at=timm.FREEZE_AT
        )
    if wrong:
        raise ConfigError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} and the config disagree:\n  "
            + "\n  ".join(wrong)
            + "\nwsl_det.detector.d2.register.settle(cfg) sets the pixels"
        )


def _check_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Refuse the first step of an optimiser that was built past what the configuration asks for."""
    if getattr(optimizer, "as_asked", False):
        return
    every = (p for group in optimizer.param_groups for p in group["params"])
    if asked := next((found for p in every if (found := getattr(p, _ASKS, None))), None):
        raise ConfigError(
            f"SOLVER.OPTIMIZER is {asked[0]} and SOLVER.LAYER_DECAY {asked[1]}, but this trainer built "
            f"{type(optimizer).__name__} without them; give it wsl_det.detector.d2.register.build_optimizer"
        )


register_optimizer_step_pre_hook(_check_step)
