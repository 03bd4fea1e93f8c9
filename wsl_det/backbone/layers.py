"""Layers without a chance of their own: their weights are NaN until they are loaded or drawn."""

from __future__ import annotations

from torch import nn

from wsl_det.backbone import norms
from wsl_det.backbone.trunk import NormedConv2d


class Linear(nn.Linear):
    """A fully connected layer that waits for its weights instead of drawing from the global generator."""

    def reset_parameters(self) -> None:
        _fill_with_nan(self)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that waits for its weights."""

    def reset_parameters(self) -> None:
        _fill_with_nan(self)


def conv(inputs: int, outputs: int, kernel: int, *, norm: str = "") -> NormedConv2d:
    """A convolution that keeps height and width (odd ``kernel``); with a norm it has no bias."""
    return NormedConv2d(
        inputs, outputs, kernel, padding=kernel // 2, bias=not norm, norm=norms.make(norm, outputs)
    )


def _fill_with_nan(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        nn.init.constant_(parameter, float("nan"))
