"""SGD as in "ImageNet in 1 hour": linear scaling, gradual warm-up, Nesterov momentum, drops equally spaced.

Momentum follows PyTorch: v <- m v + g, w <- w - lr v. The learning rate stands outside the
velocity, so changing it needs no correction of the momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common import param_scheduler as fv
from torch import nn

from wsl_det.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the update, in terms of images seen.

    The peak is ``base_lr * batch / reference_batch``. Warm-up is linear over
    ``warmup_updates`` updates from ``warmup_lr`` (never above the peak). The ``num_drops``
    drops cut the run into ``num_drops + 1`` parts of equally many images, so they stay where
    they are when the batch changes. ``cool_from`` above 0 is a branch: after so many updates
    of the run the rate falls linearly to 0 within ``cool_updates`` more, which end it.
    """

    base_lr: float
    batch: int
    total_images: int
    reference_batch: int = 256
    warmup_lr: float = 0.1
    warmup_updates: int = 0
    kind: str = "steps"
    num_drops: int = 10
    drop_factor: float = 0.5
    cosine_end: float = 0.0
    cool_from: int = 0
    cool_updates: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("steps", "cosine", "constant"):
            raise ConfigError(f"SOLVER.SCHEDULE is {self.kind!r}; expected 'steps', 'cosine' or 'constant'")
        if min(self.base_lr, self.batch, self.total_images, self.reference_batch) <= 0:
            raise ConfigError(
                f"SOLVER: BASE_LR {self.base_lr}, IMS_PER_BATCH {self.batch}, TOTAL_IMAGES "
                f"{self.total_images}, REFERENCE_BATCH {self.reference_batch}: expected numbers above 0"
            )

        if 0 < self.cool_from < self.warmup_updates:
            raise ConfigError(f"SOLVER.COOL_FROM is of update {self.cool_from}, inside the warm-up")

    @property
    def peak(self) -> float:
        """The learning rate after warm-up."""
        return self.base_lr * self.batch / self.reference_batch

    @property
    def updates(self) -> int:
        """Number of updates that see at least ``total_images`` images, or to the end of a branch."""
        if self.cool_from:
            return self.cool_from + self.cool_updates
        return -(-self.total_images // self.batch)

    def factor(self, update: int) -> float:
        """Learning rate of ``update`` (from 0) over the peak."""
        where = min(update * self.batch / self.total_images, 1.0)
        if self.kind == "constant":
            decay = min(1.0, (self.updates - update) / self.cool_updates) if self.cool_from else 1.0
        elif self.kind == "cosine":
            decay = fv.CosineParamScheduler(1.0, self.cosine_end)(where)
        else:
            decay = self._drops()(where)
        if update >= self.warmup_updates:
            return decay
        start = min(self.warmup_lr / self.peak, 1.0)
        return decay * fv.LinearParamScheduler(start, 1.0)(update / self.warmup_updates)

    def _drops(self) -> Callable[[float], float]:
        values = [self.drop_factor**drop for drop in range(self.num_drops + 1)]
        # In units of which the run and each of its parts have whole numbers.
        length = self.total_images * len(values)
        steps = fv.MultiStepParamScheduler(
            values, milestones=[self.total_images * part for part in range(1, len(values) + 1)]
        )
        # fvcore forgives 1e-6 of a run, which is thousands of images; half a unit forgives rounding only.
        return lambda where: steps(min(where + 0.5 / length - steps.WHERE_EPSILON, 1.0))


def parameter_groups(
    model: nn.Module, *, decay: float, decay_norm: float, decay_bias: float
) -> list[dict[str, Any]]:
    """The parameters in groups of one weight decay each: weights, BN gains and shifts, other biases."""
    kinds: dict[str, list[nn.Parameter]] = {"weight": [], "norm": [], "bias": []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.BatchNorm2d)
            kinds["norm" if norm else "bias" if name == "bias" else "weight"].append(parameter)
    decays = {"weight": decay, "norm": decay_norm, "bias": decay_bias}
    return [{"params": kinds[kind], "weight_decay": decays[kind], "name": kind} for kind in kinds]


def sgd(
    groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, nesterov: bool, fused: bool = False
) -> torch.optim.SGD:
    """SGD over parameter groups; Nesterov needs momentum. ``fused`` updates in one pass over the memory."""
    if nesterov and not momentum:
        raise ConfigError("SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0")
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused or None)
