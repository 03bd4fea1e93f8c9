"""Chance arrives as an argument: generators made of (seed, iteration, rank, ...), never the global one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of ``parts``; ("a", 1) and ("a1",) differ."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def generator(*parts: int | str, device: str = "cpu") -> torch.Generator:
    """A torch generator seeded with ``derive(*parts)``."""
    # Evaluation and the gain report draw with numpy and must start without torch.
    import torch

    return torch.Generator(device=device).manual_seed(derive(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A counter-based numpy generator (Philox) keyed with ``derive(*parts)``."""
    return np.random.Generator(np.random.Philox(key=derive(*parts)))
