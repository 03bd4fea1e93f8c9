"""ResNeXt-101 32xCd and its small relatives: timm's trunk, a head over the vocabulary, BN by groups.

Parameter names are timm's and torchvision's (conv1, bn1, layer1..layer4, fc); the stride
stands in the 3x3 convolution, and width doubles from stage to stage while the outputs of
res2 stay ``res2_channels`` wide for every C (docs/paper.md, sizes).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.training.arch import Arch, count_multiply_adds, make_arch
from wsl_det.core import dist

__all__ = [
    "Arch",
    "GroupBatchNorm2d",
    "build",
    "count_multiply_adds",
    "count_parameters",
    "make",
    "make_arch",
]


class GroupBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization over groups of ``group`` images, however many images a forward holds.

    336 processes of 24 images and 168 of 48 train the same model this way. The running
    statistics move once a step, by the mean over the step's ``groups_per_step`` groups, so
    they do not depend on how the groups are spread over forwards either; averaged over
    processes they do not depend on the number of processes.
    """

    def __init__(
        self,
        num_features: int,
        *,
        group: int,
        groups_per_step: int = 1,
        momentum: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_features, momentum=momentum, **kwargs)
        self.group = group
        self.groups_per_step = groups_per_step
        self._seen = 0  # groups of the step so far
        self.recomputing = False  # a forward done again for its backward moves no statistics

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) normalized; in training N is a multiple of ``group``."""
        if not self.training:
            return super().forward(input)
        if input.shape[0] % self.group:
            raise ValueError(f"{input.shape[0]} images are not whole BN groups of {self.group}")
        if input.shape[0] == self.group:
            return self._normalize(input)  # splitting into one would copy its gradient
        return torch.cat([self._normalize(piece) for piece in input.split(self.group)])

    def _normalize(self, piece: Tensor) -> Tensor:
        if self.recomputing:
            return self._batch_norm(piece, self.running_mean.clone(), self.running_var.clone(), 0.0)  # type: ignore[union-attr]
        # r <- (1 - m) r + (m / k) (s1 + ... + sk), written as k ordinary updates: the j-th takes
        # (m / k) / (1 - (k - j) m / k), and the factors (1 - that) telescope to 1 - m.
        assert self.momentum is not None
        share = self.momentum / self.groups_per_step
        rest = self.groups_per_step - 1 - self._seen
        self._seen = (self._seen + 1) % self.groups_per_step
        return self._batch_norm(piece, self.running_mean, self.running_var, share / (1 - rest * share))

    def _batch_norm(self, piece: Tensor, mean: Tensor | None, var: Tensor | None, momentum: float) -> Tensor:
        return F.batch_norm(
            piece, mean, var, self.weight, self.bias, training=True, momentum=momentum, eps=self.eps
        )


def build(
    arch: Arch,
    num_classes: int,
    *,
    bn_group: int = 24,
    groups_per_step: int = 1,
    bn_momentum: float = 0.1,
) -> nn.Module:
    """The classifier on the current default device, its weights not yet set."""
    from timm.models.resnet import Bottleneck, ResNet

    planes = arch.planes
    norm = partial(GroupBatchNorm2d, group=bn_group, groups_per_step=groups_per_step, momentum=bn_momentum)
    return ResNet(
        Bottleneck,  # type: ignore[arg-type]  # timm annotates an instance where it takes the class
        arch.blocks,
        num_classes=num_classes,
        cardinality=arch.groups,
        base_width=64 * arch.width_per_group / planes[0],  # type: ignore[arg-type]  # a whole width comes of it
        channels=planes,
        norm_layer=norm,
        # make() does it; timm would draw from the global generator for nothing.
        zero_init_last=False,
    )


def make(
    arch: Arch, num_classes: int, rng: torch.Generator, *, zero_init_last: bool = True, **norms: Any
) -> nn.Module:
    """The classifier on the CPU with its initial weights drawn from ``rng``; ``norms`` as in ``build``.

    Convolutions: normal, fan-out, ReLU gain. BN: gain 1, shift 0, the last gain of each
    residual branch 0 when ``zero_init_last``. Head: normal with deviation 0.01, bias 0.
    """
    # Built without storage first: nothing is drawn from the global generator.
    with torch.device("meta"):
        model = build(arch, num_classes, **norms)
    model = model.to_empty(device="cpu")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=rng)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            if zero_init_last and name.endswith(".bn3"):
                nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=rng)
            nn.init.zeros_(module.bias)
    return model


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The BN means and variances of a model, in module order."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return [t for m in norms for t in (m.running_mean, m.running_var) if t is not None]


def average_over_processes(statistics: list[Tensor]) -> None:
    """Replace tensors, one by one, by their mean over all processes, which all must call this."""
    if dist.world_size() > 1:
        flat = torch.cat([t.flatten() for t in statistics])
        dist.all_reduce_sum_(flat).div_(dist.world_size())
        for own, mean in zip(statistics, flat.split([t.numel() for t in statistics]), strict=True):
            own.copy_(mean.view_as(own))


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters in all, of the trunk, of the head (fc), and of BN (gains and shifts)."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    head = sum(n for name, n in sizes.items() if name.startswith("fc."))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norm = sum(p.numel() for m in norms for p in m.parameters())
    total = sum(sizes.values())
    return {"total": total, "trunk": total - head, "head": head, "bn": norm}
