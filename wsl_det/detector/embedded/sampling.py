"""The random choice of anchors and proposals to train on; pure, chance comes in as a generator."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_labels(
    labels: Tensor, num: int, positive_fraction: float, *, background: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Indices of the positives and of the negatives to train on, ``num`` together or fewer.

    labels: (N,) with -1 ignored, ``background`` negative, anything else positive. At most
    ``int(num * positive_fraction)`` are positive; negatives fill the rest. ``rng`` lives on the device
    of ``labels``; under equal seeds the picks are those of Detectron2's ``subsample_labels``.
    """
    positive = torch.nonzero((labels != -1) & (labels != background)).squeeze(1)
    negative = torch.nonzero(labels == background).squeeze(1)
    num_positive = min(positive.numel(), int(num * positive_fraction))
    num_negative = min(negative.numel(), num - num_positive)
    # Positives are drawn first, and whole permutations: both are part of Detectron2's numerics.
    return _choose(positive, num_positive, rng), _choose(negative, num_negative, rng)


def _choose(candidates: Tensor, num: int, rng: torch.Generator) -> Tensor:
    order = torch.randperm(candidates.numel(), generator=rng, device=candidates.device)
    return candidates[order[:num]]
