"""The ResNe(X)t trunk, once: Detectron2's parameter names and numerics, from its behaviour."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.backbone import norms
from wsl_det.backbone.norms import FrozenBatchNorm2d
from wsl_det.errors import ConfigError

__all__ = [
    "BASIC",
    "BLOCKS",
    "BasicBlock",
    "BottleneckBlock",
    "FrozenBatchNorm2d",
    "NormedConv2d",
    "ResNet",
    "Stem",
]

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    14: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks in res2..res5 by depth; BASIC are made of basic blocks, the others of bottlenecks.

14 and 26 are timm's names for small trunks that Detectron2 does not build.
"""
BASIC = (18, 34)

_STAGES = ("res2", "res3", "res4", "res5")


class NormedConv2d(nn.Conv2d):
    """A convolution followed by its norm, which is its child ``norm`` (so ``conv1.norm.weight``).

    Its weights are NaN until they are loaded or drawn: nobody trains from chance by accident.
    """

    def __init__(self, *args: Any, norm: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm

    def reset_parameters(self) -> None:
        # torch's own initialisation would draw from the global generator, only to be overwritten.
        for parameter in self.parameters(recurse=False):
            nn.init.constant_(parameter, torch.nan)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.norm is None else self.norm(x)


def _conv(norm: str | None, inputs: int, outputs: int, kernel: int, **kwargs: Any) -> NormedConv2d:
    return NormedConv2d(inputs, outputs, kernel, bias=False, norm=norms.make(norm, outputs), **kwargs)


class Stem(nn.Module):
    """7x7 convolution of stride 2, then a 3x3 maximum of stride 2: (N, 3, H, W) to (N, C, H/4, W/4)."""

    def __init__(self, channels: int, norm: str | None) -> None:
        super().__init__()
        self.conv1 = _conv(norm, 3, channels, 7, stride=2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


@dataclass(frozen=True)
class _Shape:
    """What a block needs to know; ``stride`` and ``dilation`` are of its 3x3 (or its first) convolution."""

    inputs: int
    outputs: int
    bottleneck: int
    groups: int
    stride: int
    dilation: int
    stride_in_1x1: bool


def _shortcut(shape: _Shape, norm: str | None) -> NormedConv2d | None:
    same = shape.inputs == shape.outputs
    return None if same else _conv(norm, shape.inputs, shape.outputs, 1, stride=shape.stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    def __init__(self, shape: _Shape, norm: str | None) -> None:
        super().__init__()
        s = shape
        self.shortcut = _shortcut(s, norm)
        self.conv1 = _conv(norm, s.inputs, s.outputs, 3, stride=s.stride, padding=1)
        self.conv2 = _conv(norm, s.outputs, s.outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu_(self.conv1(x)))
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 (grouped, maybe dilated) and 1x1 convolution, and a shortcut.

    ``stride_in_1x1`` puts the stride into the first 1x1 (the original MSRA models) instead of the
    3x3 (torchvision, timm, every ResNeXt). The shapes of the weights do not tell the two apart.
    """

    def __init__(self, shape: _Shape, norm: str | None) -> None:
        super().__init__()
        s = shape
        self.shortcut = _shortcut(s, norm)
        first, middle = (s.stride, 1) if s.stride_in_1x1 else (1, s.stride)
        self.conv1 = _conv(norm, s.inputs, s.bottleneck, 1, stride=first)
        spread = {"padding": s.dilation, "dilation": s.dilation, "groups": s.groups}
        self.conv2 = _conv(norm, s.bottleneck, s.bottleneck, 3, stride=middle, **spread)
        self.conv3 = _conv(norm, s.bottleneck, s.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(self.conv1(x))
        out = F.relu_(self.conv2(out))
        out = self.conv3(out)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class ResNet(nn.Module):
    """Stem and stages res2..res5; ``forward`` maps (N, 3, H, W) to {name: (N, C, H/stride, W/stride)}.

    The width of a bottleneck is groups * width_per_group at res2 and doubles with every stage, and so
    does the number of output channels, which starts at ``res2_channels`` whatever the width. ``norm``
    is one of Detectron2's names. Stages behind the last of ``out_features`` are not built. Without
    ``rng`` the convolutions are NaN and wait for weights.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int] = BLOCKS[101],
        block: str = "bottleneck",
        groups: int = 1,
        width_per_group: int = 64,
        stem_channels: int = 64,
        res2_channels: int = 256,
        stride_in_1x1: bool = False,
        norm: str | None = "FrozenBN",
        out_features: Sequence[str] = _STAGES,
        res5_dilation: int = 1,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_block(block, groups, groups * width_per_group, res5_dilation)
        _check_stages(blocks, out_features)
        self.out_features, self.size_divisor = tuple(out_features), 1
        self.stem = Stem(stem_channels, norm)
        self.channels: dict[str, int] = {"stem": stem_channels}
        self.strides: dict[str, int] = {"stem": 4}
        inputs = stem_channels
        depth = max((_STAGES.index(name) + 1 for name in out_features if name in _STAGES), default=0)
        for stage in range(depth):
            # R-FCN's convention, kept by Detectron2: a dilated res5 keeps the resolution of res4.
            dilation = res5_dilation if stage == 3 else 1
            shape = _Shape(
                inputs=inputs,
                outputs=res2_channels * 2**stage,
                bottleneck=groups * width_per_group * 2**stage,
                groups=groups,
                stride=1 if stage == 0 or dilation == 2 else 2,
                dilation=dilation,
                stride_in_1x1=stride_in_1x1,
            )
            self._add_stage(stage, shape, norm, block, blocks[stage])
            inputs = shape.outputs
        if rng is not None:
            self.draw_weights(rng)

    def _add_stage(self, stage: int, first: _Shape, norm: str | None, block: str, count: int) -> None:
        kind = BasicBlock if block == "basic" else BottleneckBlock
        rest = _Shape(**{**vars(first), "inputs": first.outputs, "stride": 1})
        shapes = [first, *[rest] * (count - 1)]
        self.add_module(_STAGES[stage], nn.Sequential(*(kind(shape, norm) for shape in shapes)))
        self.channels[_STAGES[stage]] = first.outputs
        self.strides[_STAGES[stage]] = 4 if stage == 0 else self.strides[_STAGES[stage - 1]] * first.stride

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs = {}
        for name, stage in self.named_children():
            x = stage(x)
            if name in self.out_features:
                outputs[name] = x
        return outputs

    def freeze(self, at: int) -> ResNet:
        """Freeze the first ``at`` stages in place: 1 the stem, 2 stem and res2, ... 5 everything.

        Detectron2's meaning: their parameters no longer train and their batch norms become frozen ones.
        """
        for stage in list(self.children())[: max(at, 0)]:
            norms.freeze(stage)
        return self

    @torch.no_grad()
    def draw_weights(self, rng: torch.Generator) -> None:
        """Draw every convolution from Detectron2's distribution (He's normal over the fan-out).

        One number is taken from ``rng``; each tensor then has a generator of its own, seeded by that
        number and the tensor's name, so that a trunk cut short has the weights of the whole one.
        """
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
        for name, module in self.named_modules():
            if isinstance(module, NormedConv2d):
                key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
                own = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
                drawn = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(drawn, mode="fan_out", nonlinearity="relu", generator=own)
                module.weight.copy_(drawn)


def _check_stages(blocks: Sequence[int], out_features: Sequence[str]) -> None:
    if len(blocks) != 4 or min(blocks) < 1:
        raise ConfigError(f"blocks {tuple(blocks)}: expected four numbers, each 1 or more, for res2..res5")
    if not out_features or (set(out_features) - {"stem", *_STAGES}):
        found = ", ".join(out_features) or "none"
        raise ConfigError(f"output features {found}: expected some of stem, {', '.join(_STAGES)}")


def _check_block(block: str, groups: int, width: int, dilation: int) -> None:
    if block not in ("basic", "bottleneck"):
        raise ConfigError(f"unknown block {block!r}; expected 'basic' or 'bottleneck'")
    if block == "basic" and (groups != 1 or dilation != 1):
        raise ConfigError(f"basic blocks have no groups ({groups}) or dilation ({dilation}); set both to 1")
    if dilation not in (1, 2):
        raise ConfigError(f"RES5_DILATION {dilation}: expected 1 or 2")
    if groups < 1 or width < groups:
        raise ConfigError(f"{groups} groups on a width of {width}: expected at least one channel each")
