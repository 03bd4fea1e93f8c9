"""The optimiser, its parameter groups and its learning rate, as Detectron2's ``solver/build.py`` makes them.

AdamW and layer decay are ours; they leave Detectron2's schedule as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from fvcore.common import param_scheduler as fv
from torch import nn

from wsl_det.core import log
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError

# Detectron2's list of normalisation layers (batch and instance norms have one base); FrozenBN is none of
# them and has no parameters.
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def _parameter_groups(model: nn.Module, solver: Any, seen: set[int]) -> list[dict[str, Any]]:
    """Trainable parameters but those ``seen``, grouped by (learning rate, weight decay), each parameter once.

    Detectron2's precedence: a norm layer's parameters take WEIGHT_DECAY_NORM; whatever is called "bias",
    in norm layers too, takes WEIGHT_DECAY_BIAS (None: no rule of its own) and BASE_LR * BIAS_LR_FACTOR.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            rate, decay = solver.BASE_LR, solver.WEIGHT_DECAY
            if isinstance(module, _NORMS) and solver.WEIGHT_DECAY_NORM is not None:
                decay = solver.WEIGHT_DECAY_NORM
            if name == "bias":
                rate = rate * solver.BIAS_LR_FACTOR
                decay = decay if solver.WEIGHT_DECAY_BIAS is None else solver.WEIGHT_DECAY_BIAS
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def optimizer(cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over the model's trainable parameters, as SOLVER of ours or Detectron2's ``cfg`` says.

    With a LAYER_DECAY under 1 the trunk has timm's groups, whose decay of weights leaves out what is
    one-dimensional and what the model names.
    """
    solver = cfg.SOLVER
    groups = _layer_groups(model, solver) if solver.LAYER_DECAY < 1 else []
    groups += _parameter_groups(model, solver, {id(p) for group in groups for p in group["params"]})
    if not groups:
        raise ConfigError(
            "nothing is left to train: every parameter is frozen; lower MODEL.BACKBONE.FREEZE_AT"
        )
    made: torch.optim.Optimizer
    if solver.OPTIMIZER == "ADAMW":
        made = torch.optim.AdamW(groups, lr=solver.BASE_LR, foreach=True)
    else:
        momentum, nesterov = solver.MOMENTUM, solver.NESTEROV
        made = torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=momentum, nesterov=nesterov, foreach=True)
    vars(made)["as_asked"] = True  # what ``d2.register`` looks for
    return made


def _layer_groups(model: nn.Module, solver: Any) -> list[dict[str, Any]]:
    trunk: Any = getattr(getattr(model, "backbone", None), "bottom_up", None)
    if not hasattr(trunk, "layer_groups"):
        raise ConfigError(
            f"SOLVER.LAYER_DECAY is {solver.LAYER_DECAY}: only timm's trunks name their layers; set it to 1"
        )
    groups: list[dict[str, Any]] = []
    for scale, decay, parameters in trunk.layer_groups(solver.LAYER_DECAY, solver.WEIGHT_DECAY):
        groups.append({"params": parameters, "lr": solver.BASE_LR * scale, "weight_decay": decay})
    return groups


def learning_rate(cfg: Config) -> Callable[[int], float]:
    """Factor over the base learning rate at an iteration: warm-up into steps or a cosine.

    The warm-up ends at the schedule's own value there (at its start with RESCALE_INTERVAL, which
    also runs the whole schedule after the warm-up), as in Detectron2's WarmupParamScheduler.
    """
    solver = cfg.SOLVER
    shape = _schedule(cfg)
    length = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    start = solver.WARMUP_FACTOR * shape(0.0)
    end = shape(0.0) if solver.RESCALE_INTERVAL else shape(length)
    constant = solver.WARMUP_METHOD == "constant"
    whole = warmup = fv.ConstantParamScheduler(start) if constant else fv.LinearParamScheduler(start, end)
    if length < 1:
        after = "rescaled" if solver.RESCALE_INTERVAL else "fixed"
        whole = fv.CompositeParamScheduler([warmup, shape], [length, 1 - length], ["rescaled", after])
    return lambda iteration: whole(iteration / solver.MAX_ITER)


def _schedule(cfg: Config) -> fv.ParamScheduler:
    solver = cfg.SOLVER
    total, name = solver.MAX_ITER, solver.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        steps = [s for s in solver.STEPS if s < total]
        if list(solver.STEPS) != sorted(set(solver.STEPS)):
            raise ConfigError(f"SOLVER.STEPS is {tuple(solver.STEPS)}; expected increasing iterations")
        if len(steps) < len(solver.STEPS):
            log.get("solver").warning(
                "SOLVER.STEPS from MAX_ITER %d on never happen: %s", total, solver.STEPS
            )
        values = [solver.GAMMA**drop for drop in range(len(steps) + 1)]
        return fv.MultiStepParamScheduler(values, milestones=[*steps, total])
    if name == "WarmupCosineLR":
        end = solver.BASE_LR_END / solver.BASE_LR
        if not 0 <= end <= 1:
            raise ConfigError(
                f"SOLVER.BASE_LR_END is {solver.BASE_LR_END:g}; expected 0 to BASE_LR {solver.BASE_LR:g}"
            )
        return fv.CosineParamScheduler(1.0, end)
    return _FixedGamma(1.0, solver.NUM_DECAYS, solver.GAMMA, total)


class _FixedGamma(fv.StepWithFixedGammaParamScheduler):
    """fvcore's, which knows no value for the end of a run and less than its tolerance before."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1.0 - 2 * self.WHERE_EPSILON))


def clipping(cfg: Config, parameters: Iterable[nn.Parameter]) -> Callable[[], None] | None:
    """What clips the gradients in place before a step, or None when CLIP_GRADIENTS is off.

    Detectron2 clips every parameter on its own: CLIP_TYPE norm bounds each tensor's norm, not that
    of the whole gradient.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    trained = [p for p in parameters if p.requires_grad]

    def by_value() -> None:
        torch.nn.utils.clip_grad_value_(trained, clip.CLIP_VALUE)

    def by_norm() -> None:
        for parameter in trained:
            torch.nn.utils.clip_grad_norm_([parameter], clip.CLIP_VALUE, clip.NORM_TYPE)

    return by_value if clip.CLIP_TYPE == "value" else by_norm


def scaled_to(cfg: Config, world_size: int) -> Config:
    """The config for ``world_size`` processes when REFERENCE_WORLD_SIZE asks for scaling, else itself.

    Detectron2's auto_scale_workers: images per process stay, batch and learning rate grow, iterations
    shrink in proportion.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, world_size):
        return cfg
    if cfg.SOLVER.IMS_PER_BATCH % reference:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is no multiple of "
            f"REFERENCE_WORLD_SIZE {reference}"
        )
    scale = world_size / reference
    solver = cfg.SOLVER
    scaled = cfg.override(
        SOLVER__IMS_PER_BATCH=round(solver.IMS_PER_BATCH * scale),
        SOLVER__BASE_LR=solver.BASE_LR * scale,
        SOLVER__MAX_ITER=max(1, round(solver.MAX_ITER / scale)),
        SOLVER__WARMUP_ITERS=round(solver.WARMUP_ITERS / scale),
        SOLVER__STEPS=sorted({max(1, round(s / scale)) for s in solver.STEPS}),
        SOLVER__CHECKPOINT_PERIOD=max(1, round(solver.CHECKPOINT_PERIOD / scale)),
        SOLVER__REFERENCE_WORLD_SIZE=world_size,
        TEST__EVAL_PERIOD=round(cfg.TEST.EVAL_PERIOD / scale),
    )
    after = (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.BASE_LR, scaled.SOLVER.MAX_ITER)
    told = "scaled from %d to %d processes: batch %d, learning rate %g, %d iterations"
    log.get("solver").info(told, reference, world_size, *after)
    return scaled
