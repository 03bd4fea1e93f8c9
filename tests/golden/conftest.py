"""Golden files, read where Detectron2 is absent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
# The scenes that the recorder used stand beside the parity tests.
sys.path.insert(0, str(HERE.parent / "parity"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As recorded; and tiny tensors are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_report() -> dict[str, Any]:
    """Losses, gradients, run lengths of the tiny model."""
    return json.loads((HERE / "tiny_model.json").read_text())


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, np.ndarray]:
    """Features, anchors, proposals, samples and detections of the tiny model."""
    with np.load(HERE / "tiny_model.npz") as arrays:
        return dict(arrays)
