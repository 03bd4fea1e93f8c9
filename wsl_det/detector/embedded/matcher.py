"""Which object each box belongs to, by overlap, and which boxes to train on, by a generator that comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Sampler:
    """Chooses boxes to train on by their labels, ``size`` or fewer, at most ``int(size * share)`` positive.

    ``rng`` lives on the device of the labels; under equal seeds the picks are those of Detectron2's
    ``subsample_labels``.
    """

    size: int
    share: float
    background: int
    rng: torch.Generator

    def __call__(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the positives and negatives chosen from (N,) labels: -1 is ignored."""
        positive = torch.nonzero((labels != -1) & (labels != self.background)).squeeze(1)
        negative = torch.nonzero(labels == self.background).squeeze(1)
        num_positive = min(positive.numel(), int(self.size * self.share))
        num_negative = min(negative.numel(), self.size - num_positive)
        # Positives are drawn first, and whole permutations: both are part of Detectron2's numerics.
        return self._choose(positive, num_positive), self._choose(negative, num_negative)

    def _choose(self, candidates: Tensor, num: int) -> Tensor:
        order = torch.randperm(candidates.numel(), generator=self.rng, device=candidates.device)
        return candidates[order[:num]]
