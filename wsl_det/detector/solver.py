"""SGD, its parameter groups and its learning rate, as Detectron2's ``solver/build.py`` makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from wsl_det.core import log, schedule
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError

# Detectron2's list of normalisation layers; FrozenBN is none of them and has no parameters.
_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    weight_decay_norm: float | None,
    weight_decay_bias: float | None,
    bias_lr_factor: float,
) -> list[dict[str, Any]]:
    """Trainable parameters grouped by (learning rate, weight decay), each parameter once.

    Detectron2's precedence: a norm layer's parameters take ``weight_decay_norm``; whatever is
    called "bias", in norm layers too, takes ``weight_decay_bias`` (None: no rule of its own) and
    ``lr * bias_lr_factor``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            rate, decay = lr, weight_decay
            if isinstance(module, _NORMS) and weight_decay_norm is not None:
                decay = weight_decay_norm
            if name == "bias":
                rate = lr * bias_lr_factor
                decay = decay if weight_decay_bias is None else weight_decay_bias
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def optimizer(cfg: Config, model: nn.Module) -> torch.optim.SGD:
    """SGD over the model's trainable parameters, as SOLVER describes it."""
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
    )
    if not groups:
        raise ConfigError(
            "nothing is left to train: every parameter is frozen; lower MODEL.BACKBONE.FREEZE_AT"
        )
    return torch.optim.SGD(
        groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, foreach=True
    )


def learning_rate(cfg: Config) -> Callable[[int], float]:
    """Factor over the base learning rate at an iteration: warm-up into steps or a cosine.

    The warm-up ends at the schedule's own value there (at its start with RESCALE_INTERVAL, which
    also runs the whole schedule after the warm-up), as in Detectron2's WarmupParamScheduler.
    """
    solver = cfg.SOLVER
    total = solver.MAX_ITER
    shape = _schedule(cfg)
    length = min(solver.WARMUP_ITERS, total)
    if solver.WARMUP_METHOD not in ("linear", "constant"):
        raise ConfigError(f"SOLVER.WARMUP_METHOD is {solver.WARMUP_METHOD!r}; expected linear or constant")

    def after(iteration: float) -> float:
        if solver.RESCALE_INTERVAL and length < total:
            return shape((iteration - length) / (total - length) * total)
        return shape(iteration)

    def factor(iteration: int) -> float:
        if iteration >= length:
            return after(iteration)
        start = solver.WARMUP_FACTOR * shape(0)
        if solver.WARMUP_METHOD == "constant":
            return start
        end = shape(0) if solver.RESCALE_INTERVAL else shape(length)
        alpha = iteration / length
        return start * (1.0 - alpha) + end * alpha

    return factor


def _schedule(cfg: Config) -> Callable[[float], float]:
    solver = cfg.SOLVER
    total, name = solver.MAX_ITER, solver.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        steps = [s for s in solver.STEPS if s <= total]
        if list(solver.STEPS) != sorted(solver.STEPS):
            raise ConfigError(f"SOLVER.STEPS is {tuple(solver.STEPS)}; expected increasing iterations")
        if len(steps) < len(solver.STEPS):
            log.get("solver").warning("SOLVER.STEPS beyond MAX_ITER %d never happen: %s", total, solver.STEPS)
        return lambda iteration: schedule.multi_step(iteration, steps, solver.GAMMA)
    if name == "WarmupCosineLR":
        end = solver.BASE_LR_END / solver.BASE_LR
        if not 0 <= end <= 1:
            raise ConfigError(
                f"SOLVER.BASE_LR_END is {solver.BASE_LR_END:g}; expected 0 to BASE_LR {solver.BASE_LR:g}"
            )
        return lambda iteration: schedule.cosine(iteration, total, end)
    if name == "WarmupStepWithFixedGammaLR":
        parts = solver.NUM_DECAYS + 1
        return lambda iteration: solver.GAMMA ** min(int(iteration * parts / total), parts - 1)
    raise ConfigError(
        f"SOLVER.LR_SCHEDULER_NAME is {name!r}; expected WarmupMultiStepLR, WarmupCosineLR or "
        "WarmupStepWithFixedGammaLR"
    )


def clipping(cfg: Config, parameters: Iterable[nn.Parameter]) -> Callable[[], None] | None:
    """What clips the gradients in place before a step, or None when CLIP_GRADIENTS is off.

    Detectron2 clips every parameter on its own: CLIP_TYPE norm bounds each tensor's norm, not that
    of the whole gradient.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    if clip.CLIP_TYPE not in ("value", "norm"):
        raise ConfigError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE!r}; expected value or norm")
    trained = [p for p in parameters if p.requires_grad]
    kind = math.inf if str(clip.NORM_TYPE).strip(".").lower() == "inf" else clip.NORM_TYPE

    def by_value() -> None:
        torch.nn.utils.clip_grad_value_(trained, clip.CLIP_VALUE)

    def by_norm() -> None:
        for parameter in trained:
            torch.nn.utils.clip_grad_norm_([parameter], clip.CLIP_VALUE, kind)

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
        SOLVER__MAX_ITER=round(solver.MAX_ITER / scale),
        SOLVER__WARMUP_ITERS=round(solver.WARMUP_ITERS / scale),
        SOLVER__STEPS=[round(s / scale) for s in solver.STEPS],
        SOLVER__CHECKPOINT_PERIOD=round(solver.CHECKPOINT_PERIOD / scale),
        SOLVER__REFERENCE_WORLD_SIZE=world_size,
        TEST__EVAL_PERIOD=round(cfg.TEST.EVAL_PERIOD / scale),
    )
    log.get("solver").info(
        "scaled from %d to %d processes: batch %d, learning rate %g, %d iterations",
        reference,
        world_size,
        scaled.SOLVER.IMS_PER_BATCH,
        scaled.SOLVER.BASE_LR,
        scaled.SOLVER.MAX_ITER,
    )
    return scaled
