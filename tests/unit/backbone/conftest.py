"""Small ResNe(X)ts made by torchvision and timm, with batch norm statistics that are not trivial."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """``model`` with every tensor drawn from a seed, statistics and affine included."""
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=rng)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=rng)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng)
            module.running_var.uniform_(0.5, 1.5, generator=rng)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=rng)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=rng)
    return model.eval()


@pytest.fixture(scope="session")
def torchvision_resnext() -> nn.Module:
    """ResNeXt 4x8d with blocks (1, 2, 1, 1): torchvision's own code and widths."""
    from torchvision.models import resnet

    return trained(resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1], groups=4, width_per_group=8, num_classes=5))


@pytest.fixture(scope="session")
def timm_resnext() -> nn.Module:
    """ResNeXt 2x4d with blocks (1, 2, 1, 1) and 32 channels at res2: timm's code, a tenth of a megabyte."""
    from timm.models import resnet

    return trained(
        resnet.ResNet(
            resnet.Bottleneck,
            (1, 2, 1, 1),
            cardinality=2,
            base_width=32,
            channels=(8, 16, 32, 64),
            num_classes=5,
        )
    )


@pytest.fixture(scope="session")
def torchvision_basic() -> nn.Module:
    """Basic blocks (1, 2, 1, 1): a shortened ResNet-18."""
    from torchvision.models import resnet

    return trained(resnet.ResNet(resnet.BasicBlock, [1, 2, 1, 1], num_classes=2))


@pytest.fixture
def small_pth(tmp_path: Path, timm_resnext: nn.Module) -> Path:
    """The timm model's state dict in a file."""
    path = tmp_path / "small.pth"
    torch.save(timm_resnext.state_dict(), path)
    return path
