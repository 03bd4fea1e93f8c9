"""R-MAC descriptors (Tolias, Sicre, Jégou, ICLR 2016): one unit vector an image, from a trunk's features.

Maxima over square regions of several scales, each region a unit vector, then their sum. Only as much
of the image as the regions share has to agree for a high score, which is what finds copies that were
cropped, framed or written on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pretrain.stream import transforms
from pretrain.stream.loader import normalize
from wsl_det.backbone import artifact
from wsl_det.core import dist
from wsl_det.errors import ConfigError

VERSION = 1
"""Goes into the key of stored descriptors; raise it when their numbers change."""
LEVELS = ("res2", "res3", "res4", "res5")
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """How an image becomes a descriptor.

    ``level`` is the stage whose features are pooled, ``size`` the side of the square (pixels) that the
    whole image is fitted to, whatever its shape, ``scales`` the number of region sizes.
    """

    level: str = "res5"
    size: int = 224
    scales: int = 3

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ConfigError(f"--level {self.level}: expected one of {', '.join(LEVELS)}")
        if not 32 <= self.size <= 1024:
            raise ConfigError(f"--size {self.size}: expected 32 to 1024 pixels")
        if not 1 <= self.scales <= 6:
            raise ConfigError(f"--scales {self.scales}: expected 1 to 6")


def regions(side: int, scales: int) -> list[tuple[int, int, int]]:
    """(top, left, side) of the regions of a square map: at scale l, l x l squares of 2 / (l + 1) its side."""
    found = []
    for scale in range(1, scales + 1):
        width = max(1, 2 * side // (scale + 1))
        steps = [0] if scale == 1 else [round(i * (side - width) / (scale - 1)) for i in range(scale)]
        found += [(top, left, width) for top in steps for left in steps]
    return list(dict.fromkeys(found))


def pool(features: Tensor, scales: int) -> Tensor:
    """(N, C, H, H) features to (N, C) unit vectors."""
    total = features.new_zeros(features.shape[:2])
    for top, left, width in regions(features.shape[-1], scales):
        region = features[:, :, top : top + width, left : left + width].amax((2, 3))
        total += F.normalize(region, dim=1)
    return F.normalize(total, dim=1)


def fit(image: transforms.Pixels, size: int) -> transforms.Pixels:
    """An (H, W, 3) image fitted to (size, size, 3): area averages to shrink, else bilinear."""
    shrinks = min(image.shape[:2]) >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=method)  # type: ignore[return-value]


def square(data: bytes, size: int) -> transforms.Pixels:
    """An image file as (size, size, 3) RGB, upright by its EXIF orientation as everywhere.

    Raises BadImage for what building shards would reject.
    """
    # Other formats by the rule of the shards, so that both sides of a pair were made alike.
    image = transforms.decode_any(data)
    return cv2.cvtColor(fit(image, size), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


class Describer:
    """A trunk that turns squares of pixels into descriptors; threads are the caller's to set."""

    def __init__(self, backbone: str | Path, settings: Settings, device: str = "cpu") -> None:
        """Raises CheckpointError for what is no whole backbone artifact."""
        found = artifact.read(backbone)
        self.settings, self.sha256 = settings, found.sha256
        self.device = dist.device(device, "--device")
        trunk = found.resnet.build(
            norm="FrozenBN", stride_in_1x1=found.meta["stride_in_1x1"], out_features=(settings.level,)
        )
        kept = trunk.state_dict()
        trunk.load_state_dict({name: found.weights[name] for name in kept})
        self.trunk = trunk.eval().to(self.device)
        self.bgr = found.meta["channel_order"] == "BGR"
        self.mean, self.std = found.meta["pixel_mean"], found.meta["pixel_std"]
        self.dim: int = trunk.channels[settings.level]

    @torch.inference_mode()
    def __call__(self, squares: NDArray[np.uint8]) -> Vectors:
        """(N, size, size, 3) RGB to (N, dim) float32 unit vectors."""
        pixels = torch.from_numpy(np.ascontiguousarray(squares)).to(self.device)
        inputs = normalize(pixels.flip(3) if self.bgr else pixels, self.mean, self.std)
        features = self.trunk(inputs)[self.settings.level]
        return pool(features, self.settings.scales).cpu().numpy()  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def backbone_sha256(backbone: str) -> str:
    """The hash of a backbone artifact; raises CheckpointError for what is none."""
    return artifact.read(backbone).sha256


def identity(backbone_sha256: str, settings: Settings) -> dict[str, Any]:
    """What descriptors depend on besides the images: equal identities give comparable descriptors."""
    return {"version": VERSION, "backbone": backbone_sha256, **asdict(settings)}
