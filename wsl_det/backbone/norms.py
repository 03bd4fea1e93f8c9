"""Normalisation layers by Detectron2's names, and batch norm that is frozen."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.errors import ConfigError

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_GROUPS = 32  # Detectron2's GN


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine never change: four buffers, nothing to train.

    (N, C, H, W) in and out. Fresh, it is the identity; Detectron2's numerics: without a gradient one
    fused ``batch_norm``, with one a multiply and an add (so that no gradient of the affine is kept).
    Unlike Detectron2's, it never fills in statistics that a file does not hold.
    """

    # Detectron2 reads a lower version as "statistics may be absent" and silently fills them in.
    _version = 3

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        # Absent from the state dict while it is None; a converted BatchNorm brings its own along,
        # because in Detectron2 the keys of a model do not depend on how much of it is frozen.
        self.register_buffer("num_batches_tracked", None)

    @classmethod
    def of(cls, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> FrozenBatchNorm2d:
        """The frozen twin of a batch norm."""
        frozen = cls(norm.num_features, norm.eps)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            value = getattr(norm, name)
            if value is not None:
                setattr(frozen, name, value.detach().clone())
        return frozen.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # The affine is computed in float32 and applied in the input's type, which may be half.
        return x * scale.view(1, -1, 1, 1).to(x.dtype) + shift.view(1, -1, 1, 1).to(x.dtype)


def freeze(module: nn.Module) -> None:
    """Freeze ``module`` in place as Detectron2 does: nothing in it trains, batch norms become frozen ones.

    Group norm keeps its kind.
    """
    for parameter in module.parameters():
        parameter.requires_grad = False
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BATCH_NORMS):
                setattr(parent, name, FrozenBatchNorm2d.of(child))


def _group_norm(channels: int) -> nn.Module:
    if channels % _GROUPS:
        raise ConfigError(
            f"norm GN needs a multiple of {_GROUPS} channels, a layer has {channels}; "
            "choose other widths, or NORM BN"
        )
    return nn.GroupNorm(_GROUPS, channels)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), at every pixel on its own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "FrozenBN": FrozenBatchNorm2d,
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "GN": _group_norm,
    "LN": ChannelNorm,
}


def make(norm: str | None, channels: int) -> nn.Module | None:
    """The layer that Detectron2 calls ``norm``, or None for the empty name."""
    if not norm:
        return None
    if norm not in _NORMS:
        raise ConfigError(f"unknown norm {norm!r}; expected one of {', '.join(_NORMS)}, or '' for none")
    return _NORMS[norm](channels)
