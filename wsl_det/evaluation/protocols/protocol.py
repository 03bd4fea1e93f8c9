"""What a protocol decides: which detections count, what unmatched ones cost, which numbers are told.

Matching, average precision, resamples, factors and oracles are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth

Pairs = Callable[[GroundTruth, np.ndarray, np.ndarray], np.ndarray]
"""Of pairs of image and class (N,) each, as indices: (N,) bool."""


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    name: as ``--protocol`` has it. title: as people say it. limit: detections that count, the best by score,
    of an image over all classes or (``by_class``) of an image and class. recalls: name, area range, and how
    many detections of an image and class count. bands: metric -> the categories' frequency that it is of.
    judged: pairs of image and class that are scored at all, lenient: those whose unmatched detections are
    ignored; None where all and where none are. without_area: whether objects and detections whose area is 0
    are there at all.
    """

    name: str
    title: str
    limit: int
    by_class: bool
    recalls: tuple[tuple[str, int, int], ...]
    bands: Mapping[str, str] = field(default_factory=dict)
    judged: Pairs | None = None
    lenient: Pairs | None = None
    without_area: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the numbers, in the order in which they are told."""
        return "AP", "AP50", "AP75", "APs", "APm", "APl", *self.bands, *(name for name, _, _ in self.recalls)

    @property
    def said(self) -> str:
        """The protocol in a line for a terminal."""
        return f"protocol: {self.title}, at most {self.limit} detections {self.counted}"

    @property
    def counted(self) -> str:
        return "an image and class" if self.by_class else "an image over all classes"
