"""A tool's --device: what can be used here, or one message that names the flag."""

from __future__ import annotations

import pytest
import torch

from wsl_det.core import dist
from wsl_det.errors import ConfigError


def test_the_cpu_can_be_used() -> None:
    assert dist.flag_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "gpu", ""])
def test_what_is_not_here_is_named_with_the_flag(name: str) -> None:
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(ConfigError, match=f"--device {name} cannot be used .*--device cpu"):
        dist.flag_device(name)
