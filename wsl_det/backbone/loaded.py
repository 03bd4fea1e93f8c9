"""A backbone as a module of one's own PyTorch: photos in, features out, its pixels taken care of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsl_det.backbone import artifact, transfer
from wsl_det.backbone.timm_models import TimmArchitecture
from wsl_det.backbone.timm_trunk import TimmTrunk
from wsl_det.backbone.trunk import ResNet
from wsl_det.errors import CheckpointError


class Backbone(nn.Module):
    """A trunk behind the pixels that it was trained on.

    ``forward`` takes photos (N, 3, H, W), RGB from 0 to 255, uint8 or floating, and gives the features
    {"res2": (N, C, H/4, W/4), "res3": ..., "res4": ..., "res5": (N, 8 C, H/32, W/32)}. The order of the
    channels, mean and deviation are the file's. ``trunk`` is the bare module for pixels that are prepared
    already; ``channels`` and ``strides`` are by stage; ``meta`` is what the file says of itself (arch,
    pixel_mean, pixel_std, channel_order, bn, provenance, licence), with its certificate. Of a trunk of
    timm's the stages are those that the model has, H and W multiples of ``trunk.size_divisor``.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, found: artifact.Artifact, *, norm: str = "FrozenBN", freeze_at: int = 0) -> None:
        super().__init__()
        meta = self.meta = found.ancestry
        given: dict[str, Any] = {k: meta[k] for k in ("channel_order", "pixel_mean", "pixel_std")}
        given |= {"freeze_at": freeze_at, "prefix": ""}
        self.trunk: ResNet | TimmTrunk
        if isinstance(found.arch, TimmArchitecture):
            name, frozen = found.arch.model, norm == "FrozenBN"
            if norm == "SyncBN":
                raise CheckpointError(f"norm SyncBN is for ResNe(X)ts, {found.path} is timm's {name}; use BN")
            self.trunk = TimmTrunk(name, freeze_at=freeze_at, frozen_norm=frozen)
            transfer.into_timm(self.trunk, found, name=name, frozen_norm=frozen, **given)
        else:
            stride = meta["stride_in_1x1"]
            self.trunk = found.arch.build(norm=norm, stride_in_1x1=stride).freeze(freeze_at)
            transfer.into(self.trunk, found, norm=norm, stride_in_1x1=stride, **given)
        stages = self.trunk.out_features
        self.channels = {name: self.trunk.channels[name] for name in stages}
        self.strides = {name: self.trunk.strides[name] for name in stages}
        self._flip = meta["channel_order"] == "BGR"
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(meta[name]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage; ValueError for what is no batch of colour photos."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images are {tuple(images.shape)}; expected (N, 3, H, W), RGB from 0 to 255")
        pixels = (images.flip(1) if self._flip else images).to(self.pixel_mean.dtype)
        return self.trunk((pixels - self.pixel_mean) / self.pixel_std)  # type: ignore[no-any-return]


def load(path: str | Path, *, norm: str = "FrozenBN", freeze_at: int = 0) -> Backbone:
    """See ``wsl_det.load_backbone``."""
    if norm not in ("FrozenBN", "BN", "SyncBN"):
        raise CheckpointError(f"norm is {norm!r}; expected FrozenBN, BN or SyncBN")
    return Backbone(artifact.read(path), norm=norm, freeze_at=freeze_at)
