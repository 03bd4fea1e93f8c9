"""The shape of a trunk: read off its tensors, checked against what a name or a config claims."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec
import torch

from wsl_det.backbone.trunk import BASIC, BLOCKS, ResNet
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError

_MOST_BLOCKS = 200
_BLOCK_KEY = re.compile(r"res([2-5])\.(\d+)\.")
_NAMED_RESNEXT = re.compile(r"(?:resnext|(?<![a-z0-9])X-)(\d+)(?:[_-](\d+)x(\d+)d?)?", re.IGNORECASE)
_NAMED_RESNET = re.compile(r"(?<!wide_)(?:resnet|\bR-)(\d+)(?![\d.])", re.IGNORECASE)


@dataclass(frozen=True)
class Architecture:
    """A ResNe(X)t trunk as the shapes of its tensors tell it; where the stride sits they do not tell."""

    blocks: tuple[int, int, int, int]
    block: str = "bottleneck"
    groups: int = 1
    width_per_group: int = 64
    stem_channels: int = 64
    res2_channels: int = 256

    @property
    def depth(self) -> int | None:
        """Detectron2's DEPTH, or None when no DEPTH stands for these blocks."""
        same = (
            d
            for d, found in BLOCKS.items()
            if found == self.blocks and (d in BASIC) == (self.block == "basic")
        )
        return next(same, None)

    @property
    def name(self) -> str:
        """Such as ``ResNeXt-101 32x8d``; unusual shapes are spelled out."""
        kind = "ResNet" if self.groups == 1 else "ResNeXt"
        text = f"{kind}-{self.depth}" if self.depth else f"{kind} with blocks {self.blocks}"
        if self.groups > 1 or self.width_per_group != 64:
            text += f" {self.groups}x{self.width_per_group}d"
        usual = 64 if self.block == "basic" else 256
        if (self.stem_channels, self.res2_channels) != (64, usual):
            text += f" (stem {self.stem_channels}, res2 {self.res2_channels} channels)"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as headers and ``meta`` hold them."""
        return {"depth": self.depth, **asdict(self), "blocks": list(self.blocks)}

    def build(self, **kwargs: Any) -> ResNet:
        """A trunk of this shape; ``kwargs`` are the rest of ``ResNet``'s (norm, stride_in_1x1, rng, ...)."""
        return ResNet(**asdict(self), **kwargs)

    def config_keys(self) -> dict[str, Any]:
        """The MODEL.RESNETS keys that make Detectron2 build this shape."""
        return {
            "MODEL.RESNETS.DEPTH": self.depth,
            "MODEL.RESNETS.NUM_GROUPS": self.groups,
            "MODEL.RESNETS.WIDTH_PER_GROUP": self.width_per_group,
            "MODEL.RESNETS.STEM_OUT_CHANNELS": self.stem_channels,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": self.res2_channels,
        }


def from_dict(value: Any) -> Architecture:
    """The inverse of ``to_dict``; ``depth`` is derived, ``block`` may be absent from a run's header."""
    try:
        block = value.get("block") or ("basic" if value["depth"] in BASIC else "bottleneck")
        told = {f.name: value[f.name] for f in fields(Architecture) if f.name != "block"}
        return msgspec.convert({**told, "block": block}, Architecture)
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise CheckpointError(
            f"architecture {value!r} cannot be read ({type(error).__name__}: {error})"
        ) from None


def infer(shapes: Mapping[str, tuple[int, ...]], where: str) -> Architecture:
    """The architecture of a trunk from the shapes of its tensors under Detectron2's names.

    Every tensor must be there with the shape that the architecture asks for, and no other;
    otherwise a CheckpointError lists the differences. ``where`` names the file in messages.
    """
    arch = _guess(shapes, where)
    with torch.device("meta"):
        expected = {key: tuple(t.shape) for key, t in arch.build(norm="FrozenBN").state_dict().items()}
    found = {key: tuple(shape) for key, shape in shapes.items()}
    checkpoint.check_shapes(found, expected, f"{where} is not a whole {arch.name} trunk", arch.name)
    return arch


def _guess(shapes: Mapping[str, tuple[int, ...]], where: str) -> Architecture:
    indices: dict[int, set[int]] = {}
    for key in shapes:
        if m := _BLOCK_KEY.match(key):
            indices.setdefault(int(m[1]), set()).add(int(m[2]))
    counts = [len(indices.get(stage, ())) for stage in (2, 3, 4, 5)]
    stem, first = shapes.get("stem.conv1.weight"), shapes.get("res2.0.conv1.weight")
    block = "bottleneck" if "res2.0.conv3.weight" in shapes else "basic"
    last = shapes.get("res2.0.conv3.weight" if block == "bottleneck" else "res2.0.conv2.weight")
    middle = shapes.get("res2.0.conv2.weight")
    if min(counts) == 0 or not all(s and len(s) == 4 and min(s) > 0 for s in (stem, first, last, middle)):
        raise CheckpointError(
            f"{where} does not hold a ResNe(X)t trunk: stem {stem}, blocks {counts} in res2..res5; "
            "expected the four stages of a torchvision, timm, WSL or Detectron2 ResNe(X)t"
        )
    assert stem and first and last and middle
    if max(counts) > _MOST_BLOCKS:
        raise CheckpointError(f"{where}: {counts} blocks in res2..res5; no ResNe(X)t has so many")
    groups, width = (max(1, first[0] // middle[1]), first[0]) if block == "bottleneck" else (1, 64)
    return Architecture(
        blocks=(counts[0], counts[1], counts[2], counts[3]),
        block=block,
        groups=groups,
        width_per_group=width // groups,
        stem_channels=stem[0],
        res2_channels=last[0],
    )


def check_claim(arch: Architecture, claim: str, where: str) -> None:
    """Raise when ``claim``, a file's or a model's name, says another depth or width than the tensors.

    timm's ``ig_resnext101_32x16d`` builds a 32x8d without a word; names such as ``resnext101_32x16d``,
    ``ig_resnext101_32x8-c38310e5``, ``resnet50`` or ``X-101-32x8d`` are understood, others say nothing.
    """
    claimed: tuple[int | None, ...] = (None, None, None)
    if m := _NAMED_RESNEXT.search(claim):
        claimed = tuple(int(n) if n else None for n in m.groups())
    elif m := _NAMED_RESNET.search(claim):
        claimed = (int(m[1]), 1, None)
    found = (arch.depth, arch.groups, arch.width_per_group)
    if any(c is not None and c != f for c, f in zip(claimed, found, strict=True)):
        raise CheckpointError(
            f"{where}: the name {claim!r} promises another architecture than the tensors, which are a "
            f"{arch.name}; get the right file, or say what you expect: --arch NAME (--arch any: anything)"
        )
