"""Which object each box belongs to, by overlap, and which boxes to train on, by a generator that comes in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Matcher:
    """Labels boxes by the overlap with their best object.

    ``thresholds`` cut [0, 1] into intervals (the lower end belongs to the interval) and ``labels``
    name them: 1 positive, 0 negative, -1 ignored. ``rescue``: the best boxes of an object, ties
    included, are positive however low their overlap.
    """

    def __init__(self, thresholds: Sequence[float], labels: Sequence[int], *, rescue: bool) -> None:
        self.edges = (-float("inf"), *thresholds, float("inf"))
        self.labels, self.rescue = tuple(labels), rescue

    def __call__(self, overlaps: Tensor) -> tuple[Tensor, Tensor]:
        """Object of each box, (N,) int64, and label of each box, (N,) int8, from (M objects, N boxes).

        Without objects every box belongs to object 0 with the label of the lowest interval. As in
        Detectron2 a rescued box keeps the object it overlaps most, which may not be its rescuer.
        """
        if overlaps.numel() == 0:
            matches = overlaps.new_zeros(overlaps.shape[1], dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        best, matches = overlaps.max(dim=0)
        labels = torch.ones_like(matches, dtype=torch.int8)
        for label, low, high in zip(self.labels, self.edges[:-1], self.edges[1:], strict=True):
            labels[(best >= low) & (best < high)] = label
        if self.rescue:
            best_of_object = overlaps.max(dim=1, keepdim=True).values
            labels[(overlaps == best_of_object).any(dim=0)] = 1
        return matches, labels


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
