"""Feature pyramids over a trunk, with Detectron2's names: FPN, and ViTDet's of one map alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.backbone import layers, norms


class Trunk(Protocol):
    """What a pyramid asks of a trunk: a module that maps (N, 3, H, W) to {name: (N, C, H/stride, W/stride)}.

    H and W are multiples of ``size_divisor``.
    """

    channels: dict[str, int]
    strides: dict[str, int]
    size_divisor: int

    def __call__(self, x: Tensor) -> dict[str, Tensor]: ...


class Pyramid(nn.Module):
    """(N, 3, H, W) to {"p2": (N, C, H/4, W/4), ..., "p6": ...}, each level half as fine as the one before.

    H and W must be multiples of ``size_divisibility``. The last level is every second pixel of the one below.
    """

    strides: Mapping[str, int]
    channels: int
    bottom_up: nn.Module
    _divisor: int

    @property
    def size_divisibility(self) -> int:
        return self._divisor

    def _over(self, trunk: Trunk, stages: Sequence[int], channels: int) -> None:
        assert isinstance(trunk, nn.Module)
        self.bottom_up, self.channels = trunk, channels
        self.strides = {f"p{stage}": 2**stage for stage in [*stages, stages[-1] + 1]}
        self._divisor = math.lcm(2 ** stages[-1], trunk.size_divisor)

    def _topped(self, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        *_, last, top = self.strides
        coarser = F.max_pool2d(levels[last], kernel_size=1, stride=2)
        return {name: coarser if name == top else levels[name] for name in self.strides}


class FPN(Pyramid):
    """Feature pyramid over several stages of the trunk (Lin et al., CVPR 2017).

    in_features: stages of the trunk from fine to coarse, each half as fine as the one before.
    fuse: "sum" or "avg".
    """

    def __init__(
        self, trunk: Trunk, *, in_features: Sequence[str], channels: int, norm: str = "", fuse: str = "sum"
    ) -> None:
        super().__init__()
        self.in_features, self.fuse = tuple(in_features), fuse
        self.stages = [int(math.log2(trunk.strides[name])) for name in in_features]
        for stage, name in zip(self.stages, in_features, strict=True):
            lateral = layers.conv(trunk.channels[name], channels, 1, norm=norm)
            self.add_module(f"fpn_lateral{stage}", lateral)
            self.add_module(f"fpn_output{stage}", layers.conv(channels, channels, 3, norm=norm))
        self._over(trunk, self.stages, channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        bottom_up = self.bottom_up(x)
        above: Tensor | None = None
        pyramid: dict[str, Tensor] = {}
        for stage, name in zip(reversed(self.stages), reversed(self.in_features), strict=True):
            merged = self.get_submodule(f"fpn_lateral{stage}")(bottom_up[name])
            if above is not None:
                merged = merged + F.interpolate(above, scale_factor=2.0, mode="nearest")
                if self.fuse == "avg":
                    merged = merged / 2
            pyramid[f"p{stage}"] = self.get_submodule(f"fpn_output{stage}")(merged)
            above = merged
        return self._topped(pyramid)


class SimplePyramid(Pyramid):
    """Strides 4 to 32 from the trunk's only map, ViTDet's (Li et al., ECCV 2022).

    From stride 16: two 2x2 deconvolutions with norm and GELU between, one, none, a maximum; then each a
    1x1 and a 3x3 convolution with layer norm over the channels and no bias.
    """

    def __init__(self, trunk: Trunk, *, channels: int) -> None:
        super().__init__()
        ((self.in_feature, stride),) = trunk.strides.items()
        self.stages = (2, 3, 4, 5)
        for stage in self.stages:
            steps, width = _scaled(trunk.channels[self.in_feature], int(math.log2(stride)) - stage)
            steps += [
                layers.conv(width, channels, 1, norm="LN"),
                layers.conv(channels, channels, 3, norm="LN"),
            ]
            self.add_module(f"simfp_{stage}", nn.Sequential(*steps))
        self._over(trunk, self.stages, channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.bottom_up(x)[self.in_feature]
        return self._topped(
            {f"p{stage}": self.get_submodule(f"simfp_{stage}")(found) for stage in self.stages}
        )


def _scaled(width: int, times: int) -> tuple[list[nn.Module], int]:
    """The layers that make a map ``2**times`` times as fine, and the channels behind them."""
    if times <= 0:
        return [nn.MaxPool2d(2, 2) for _ in range(-times)], width
    steps: list[nn.Module] = []
    for left in range(times, 0, -1):
        steps.append(layers.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
        if left > 1:
            steps += [norms.ChannelNorm(width), nn.GELU()]
    return steps, width
