"""The mask branch (He et al., ICCV 2017), with Detectron2's names and numerics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.backbone import layers


class MaskHead(nn.Module):
    """3x3 convolutions, a doubling, and one mask of logits per class: (N, C, S, S) to (N, K, 2 S, 2 S).

    dims: channels of the convolutions and, last, of the doubling. num_classes is 1 for masks that do
    not depend on the class.
    """

    def __init__(self, channels: int, *, num_classes: int, dims: Sequence[int], norm: str = "") -> None:
        super().__init__()
        self.num_convs = len(dims) - 1
        for number, dim in enumerate(dims[:-1], 1):
            self.add_module(f"mask_fcn{number}", layers.conv(channels, dim, 3, norm=norm))
            channels = dim
        self.deconv = layers.ConvTranspose2d(channels, dims[-1], kernel_size=2, stride=2)
        self.predictor = layers.conv(dims[-1], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, self.num_convs + 1):
            x = F.relu_(self.get_submodule(f"mask_fcn{number}")(x))
        return self.predictor(F.relu_(self.deconv(x)))

    def probabilities(self, x: Tensor, classes: Tensor) -> Tensor:
        """Probabilities (N, 2 S, 2 S) of the masks of the given classes, (N,)."""
        return mask_probabilities(self(x), classes)


def mask_loss(logits: Tensor, classes: Tensor, wanted: Tensor) -> Tensor:
    """Mean binary cross entropy of the masks of the right classes; 0 on the graph without objects.

    logits: (N, K or 1, M, M); classes: (N,); wanted: (N, M, M) bool.
    """
    if len(wanted) == 0:
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(_of_class(logits, classes), wanted.to(torch.float32))


def mask_probabilities(logits: Tensor, classes: Tensor) -> Tensor:
    """Probabilities (N, M, M) of the masks of the given classes."""
    return _of_class(logits, classes).sigmoid()


def _of_class(logits: Tensor, classes: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[torch.arange(len(logits), device=logits.device), classes]
