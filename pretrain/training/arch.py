"""The shape of a trunk of bottleneck blocks and what it costs, by arithmetic: no torch is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wsl_det.core.config import Config
from wsl_det.errors import ConfigError

BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STEM_CHANNELS = 64  # timm's stem is 64 wide whatever follows
PAPER_WIDTHS = (4, 8, 16, 32, 48)


@dataclass(frozen=True)
class Arch:
    """The shape of a trunk of bottleneck blocks: its name is ``{groups}x{width_per_group}d``."""

    depth: int
    blocks: tuple[int, ...]
    groups: int
    width_per_group: int
    res2_channels: int = 256
    stem_channels: int = STEM_CHANNELS

    @property
    def name(self) -> str:
        """Such as resnext101_32x8d."""
        kind = "resnet" if self.groups == 1 else "resnext"
        suffix = "" if self.groups == 1 else f"_{self.groups}x{self.width_per_group}d"
        return f"{kind}{self.depth}{suffix}"

    @property
    def planes(self) -> tuple[int, ...]:
        """What timm calls planes: a quarter of the outputs of each stage."""
        return tuple(self.res2_channels // 4 << stage for stage in range(4))

    def header(self) -> dict[str, Any]:
        """The plain values that travel in a checkpoint."""
        return {**asdict(self), "blocks": list(self.blocks)}


def make_arch(
    *,
    depth: int,
    groups: int,
    width_per_group: int,
    res2_channels: int = 256,
    stem_channels: int = STEM_CHANNELS,
    blocks: Sequence[int] = (),
) -> Arch:
    """The architecture of a config; ``blocks`` (four counts) overrides the depth's own."""
    if not blocks and depth not in BLOCKS:
        raise ConfigError(f"MODEL.DEPTH is {depth}; expected one of {sorted(BLOCKS)}, or give MODEL.BLOCKS")
    chosen = tuple(blocks) or BLOCKS[depth]
    if len(chosen) != 4 or min(chosen) < 1:
        raise ConfigError(f"MODEL.BLOCKS is {list(chosen)}; expected four counts of at least 1")
    if res2_channels % 4 or min(groups, width_per_group, res2_channels) < 1:
        raise ConfigError(
            f"groups {groups}, width per group {width_per_group}, res2 channels {res2_channels}: "
            "expected positive numbers, and MODEL.RES2_CHANNELS a multiple of 4"
        )
    arch = Arch(depth, chosen, groups, width_per_group, res2_channels, stem_channels)
    base = 64 * width_per_group / arch.planes[0]
    if [math.floor(p * (base / 64)) for p in arch.planes] != [width_per_group << s for s in range(4)]:
        raise ConfigError(
            f"width per group {width_per_group} with {res2_channels} res2 channels has no "
            "exact form in timm's trunk; choose MODEL.RES2_CHANNELS a power of two"
        )
    return arch


def of_config(cfg: Config) -> Arch:
    """The trunk of a pretraining configuration."""
    return make_arch(
        depth=cfg.MODEL.DEPTH,
        blocks=cfg.MODEL.BLOCKS,
        groups=cfg.MODEL.GROUPS,
        width_per_group=cfg.MODEL.WIDTH_PER_GROUP,
        res2_channels=cfg.MODEL.RES2_CHANNELS,
    )


def paper_archs() -> list[Arch]:
    """ResNeXt-101 32xCd for the five widths of the paper."""
    return [make_arch(depth=101, groups=32, width_per_group=width) for width in PAPER_WIDTHS]


def count_parameters(arch: Arch, num_classes: int) -> dict[str, int]:
    """Parameters in all, of the trunk, of the head, and of BN (gains and shifts)."""
    convolutions = list(_convolutions(arch, 0))
    norm = 2 * sum(channels for _, channels, _ in convolutions)
    trunk = norm + sum(weights for weights, _, _ in convolutions)
    head = (8 * arch.res2_channels + 1) * num_classes
    return {"total": trunk + head, "trunk": trunk, "head": head, "bn": norm}


def count_multiply_adds(arch: Arch, num_classes: int, size: int = 224, *, stride_in_1x1: bool = False) -> int:
    """Multiply-adds of one image, ``size`` pixels square: convolutions and the head."""
    trunk = sum(weights * side**2 for weights, _, side in _convolutions(arch, size, stride_in_1x1))
    return trunk + 8 * arch.res2_channels * num_classes


def _convolutions(arch: Arch, side: int, stride_in_1x1: bool = False) -> Iterator[tuple[int, int, int]]:
    """Weights, output channels and side of the output of every convolution, for images ``side`` wide."""
    side = _half(side)
    yield 3 * 7 * 7 * arch.stem_channels, arch.stem_channels, side
    side, inputs = _half(side), arch.stem_channels
    for stage, blocks in enumerate(arch.blocks):
        width, outputs = arch.groups * arch.width_per_group << stage, arch.res2_channels << stage
        for block in range(blocks):
            before = side
            if block == 0 and stage > 0:
                side = _half(side)
            yield inputs * width, width, side if stride_in_1x1 else before
            yield 9 * width * width // arch.groups, width, side
            yield width * outputs, outputs, side
            if block == 0 and (stage > 0 or inputs != outputs):  # the shortcut
                yield inputs * outputs, outputs, side
            inputs = outputs


def _half(side: int) -> int:
    return (side + 1) // 2


def table(
    archs: Sequence[Arch], classes: Sequence[int], size: int = 224, *, stride_in_1x1: bool = False
) -> str:
    """Parameters and multiply-adds of architectures under heads of several sizes; 0 classes: no head."""
    lines = [
        f"{'trunk':<20} {'classes':>8} {'parameters':>13} {'trunk only':>13} {'head':>11} {'BN':>9} "
        f"{f'multiply-adds {size}x{size}':>24}"
    ]
    for arch in archs:
        for number in classes:
            counts = count_parameters(arch, number)
            adds = count_multiply_adds(arch, number, size, stride_in_1x1=stride_in_1x1)
            lines.append(
                f"{arch.name:<20} {number:>8,} {counts['total']:>13,} {counts['trunk']:>13,} "
                f"{counts['head']:>11,} {counts['bn']:>9,} {adds:>24,}"
            )
    return "\n".join(lines)
