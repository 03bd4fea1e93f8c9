"""Feature pyramid over the trunk (Lin et al., CVPR 2017), with Detectron2's names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.backbone.trunk import ResNet
from wsl_det.detector.embedded import layers


class FPN(nn.Module):
    """Trunk and pyramid: (N, 3, H, W) to {"p2": (N, C, H/4, W/4), ..., "p6": ...}.

    in_features: stages of the trunk from fine to coarse, each half as fine as the one before and
    ending at stride 32. A last level, every second pixel of p5, is added. fuse: "sum" or "avg".
    H and W must be multiples of ``size_divisibility``.
    """

    def __init__(
        self, trunk: ResNet, *, in_features: Sequence[str], channels: int, norm: str = "", fuse: str = "sum"
    ) -> None:
        super().__init__()
        self.in_features, self.fuse = tuple(in_features), fuse
        self.stages = [int(math.log2(trunk.strides[name])) for name in in_features]
        for stage, name in zip(self.stages, in_features, strict=True):
            lateral = layers.conv(trunk.channels[name], channels, 1, norm=norm)
            self.add_module(f"fpn_lateral{stage}", lateral)
            self.add_module(f"fpn_output{stage}", layers.conv(channels, channels, 3, norm=norm))
        self.bottom_up = trunk
        self.channels = channels
        self.strides = {f"p{stage}": 2**stage for stage in [*self.stages, self.stages[-1] + 1]}
        self.size_divisibility = 2 ** self.stages[-1]

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
        top = self.stages[-1]
        pyramid[f"p{top + 1}"] = F.max_pool2d(pyramid[f"p{top}"], kernel_size=1, stride=2)
        return {name: pyramid[name] for name in self.strides}
