"""The model a file was made for, built by torchvision's or timm's code, and a probe to compare on.

Nothing here uses our trunk: what is proved against it would otherwise prove itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsl_det.backbone import conventions
from wsl_det.backbone.arch import Architecture
from wsl_det.backbone.conventions import Convention
from wsl_det.errors import CheckpointError

_STAGES = ("res2", "res3", "res4", "res5")


def probe(height: int = 96, width: int = 128) -> np.ndarray:
    """Fixed pictures, uint8 (2, height, width, 3) in RGB: waves, edges and noise.

    The channels differ in mean and pattern, so that swapping two of them is seen.
    """
    rng = np.random.Generator(np.random.Philox(key=20180508))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pictures = []
    for index in range(2):
        waves = [np.sin(x / (5 + 3 * c) + index) * np.cos(y / (9 - 2 * c) - c) for c in range(3)]
        picture = np.stack([60 + 50 * c + 45 * wave for c, wave in enumerate(waves)], axis=-1)
        picture[height // 4 : height // 2, width // 3 : width // 2] += [90, -40, -70]
        pictures.append(picture + rng.normal(0, 20, picture.shape))
    return np.clip(np.rint(np.stack(pictures)), 0, 255).astype(np.uint8)


def source_input(pictures: np.ndarray, convention: Convention) -> Tensor:
    """The probe as the source model's own code would see it: (N, 3, H, W) float32.

    torchvision's rule is written with its own constants for pixels 0-1, not with ours for 0-255.
    """
    ordered = pictures if convention.channel_order == "RGB" else pictures[..., ::-1]
    pixels = torch.from_numpy(np.ascontiguousarray(ordered)).permute(0, 3, 1, 2)
    if convention == conventions.TORCHVISION:
        from torchvision.transforms.functional import normalize

        return normalize(pixels.float() / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    statistics = (convention.pixel_mean, convention.pixel_std)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in statistics)
    return ((pixels.double() - mean) / std).float()


def build(
    arch: Architecture, weights: Mapping[str, Tensor], *, stride_in_1x1: bool, library: str | None = None
) -> tuple[nn.Module, str]:
    """torchvision's ResNet with ``weights`` (its names), or timm's for widths that torchvision lacks.

    ``library`` asks for one of the two; CheckpointError when it has no such ResNet. Returns the model
    in evaluation mode and a line that says what it is. Nothing is drawn at random: the model is made
    without storage and every tensor assigned.
    """
    with torch.device("meta"):
        model, maker = _empty(arch, library)
    model.fc = nn.Identity()
    if stride_in_1x1:  # the original MSRA models; torchvision and timm only know the stride in the 3x3
        for stage in (model.layer2, model.layer3, model.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, (1, 1)
    cast = {k: v.detach().to(torch.float32) for k, v in weights.items()}
    result = model.load_state_dict(cast, strict=False, assign=True)
    missing = [k for k in result.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"{maker} does not take these weights: missing {missing[:5]}, "
            f"unexpected {result.unexpected_keys[:5]}"
        )
    moved = ", strides moved to the 1x1 convolutions" if stride_in_1x1 else ""
    return model.eval(), f"{maker} as {arch.name}{moved}"


def _empty(arch: Architecture, library: str | None) -> tuple[Any, str]:
    if arch.stem_channels != 64:
        raise CheckpointError(
            f"a stem of {arch.stem_channels} channels has no counterpart in torchvision or timm, "
            "so the export cannot be proved; 64 is expected"
        )
    usual = arch.res2_channels == (64 if arch.block == "basic" else 256)
    if library == "torchvision" and not usual:
        raise CheckpointError(
            f"torchvision has no {arch.name}: its res2 always has the usual channels; use --to timm"
        )
    name = "timm" if library == "timm" or not usual else "torchvision"
    resnet: Any = importlib.import_module(f"{name}.models.resnet")
    widths = {"groups": arch.groups, "width_per_group": arch.width_per_group}
    block = resnet.BasicBlock if arch.block == "basic" else resnet.Bottleneck
    model = resnet.ResNet(block, list(arch.blocks), **(timm_widths(arch) if name == "timm" else widths))
    return model, f"{name} {metadata.version(name)} ResNet"


def timm_widths(arch: Architecture) -> dict[str, Any]:
    """The arguments of timm's ``ResNet`` that make ``arch``'s widths, beside the block and the blocks."""
    bottleneck = arch.block == "bottleneck"
    planes = arch.res2_channels // 4 if bottleneck else arch.res2_channels
    base = 64 * arch.width_per_group / planes if bottleneck else 64.0
    # timm rounds planes * base_width / 64 down; the hair keeps an inexact quotient from falling short.
    return {
        "cardinality": arch.groups,
        "base_width": int(base) if base.is_integer() else base * (1 + 1e-9),
        "channels": tuple(planes * 2**stage for stage in range(4)),
    }


@torch.no_grad()
def features(model: Any, images: Tensor) -> dict[str, Tensor]:
    """res2..res5 of a torchvision or timm ResNet."""
    act = model.relu if hasattr(model, "relu") else model.act1
    x = model.maxpool(act(model.bn1(model.conv1(images))))
    found = {}
    for name, stage in zip(_STAGES, (model.layer1, model.layer2, model.layer3, model.layer4), strict=True):
        x = stage(x)
        found[name] = x
    return found
