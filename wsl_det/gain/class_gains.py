"""What each class gains, whole and in halves of the images, plain and under resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsl_det.core import seed as seeds
from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable
from wsl_det.gain import factors, measures, resamples, threads
from wsl_det.gain.side import Side

SPLITS = 16
"""Ways to halve the images that the point of a statistic is the mean over; a resample is halved once."""


@dataclass(frozen=True)
class ClassGains:
    """Numbers of K classes in percent under W weightings of the images; nan where undefined.

    base: (K, W) AP@.1 of the baseline. gain: (K, W) what the candidate has more. recognition: (K, W) the part
    of the gain in AP that two_factors calls so, undefined where an AP is 0.
    """

    base: np.ndarray
    gain: np.ndarray
    recognition: np.ndarray


@dataclass(frozen=True)
class Halved:
    """``whole`` has one weighting; of the others each split or resample has two, its halves."""

    whole: ClassGains
    splits: ClassGains
    resamples: ClassGains


def measure(baseline: Side, candidate: Side, bootstrap: int, seed: int, track: measures.Progress) -> Halved:
    """The classes' gains; copies of an image in a resample are always in the same half."""
    images = baseline.tables[0].num_images
    rng = seeds.numpy_generator("halves of the images", seed, images)
    drawn = resamples.multiplicities(images, bootstrap, seed)
    weights = np.concatenate([np.ones((images, SPLITS), dtype=np.uint8), drawn], axis=1)
    first = rng.integers(0, 2, weights.shape, dtype=np.uint8)
    halves = np.stack([weights * first, weights * (1 - first)], axis=2).reshape(images, -1)
    every = np.concatenate([np.ones((images, 1), dtype=np.uint8), halves], axis=1)
    numbers = [_mean_of_runs(side, every, track) for side in (baseline, candidate)]
    (loose_a, full_a), (loose_b, full_b) = numbers
    recognition, _ = factors.two_factors(full_a, loose_a, full_b, loose_b)
    found = loose_a, loose_b - loose_a, recognition

    def part(columns: slice) -> ClassGains:
        return ClassGains(*(np.ascontiguousarray(values[:, columns]) for values in found))

    return Halved(part(slice(1)), part(slice(1, 1 + 2 * SPLITS)), part(slice(1 + 2 * SPLITS, None)))


def _mean_of_runs(side: Side, weights: np.ndarray, track: measures.Progress) -> tuple[np.ndarray, np.ndarray]:
    """(AP@.1, AP), each (K, W): fine-tunings of a backbone averaged first, as everywhere."""
    of_runs = np.stack([_by_class(table, weights, track) for table in side.tables])
    return tuple(np.mean([of_runs[unit].mean(axis=0) for unit in side.units], axis=0))  # type: ignore[return-value]


def _by_class(table: MatchTable, weights: np.ndarray, track: measures.Progress) -> np.ndarray:
    """(2, K, W): AP@.1 and AP of each class."""

    def block(start: int) -> np.ndarray:
        some = np.ascontiguousarray(weights[:, start : start + measures.BLOCK])
        objects = ap.positives(
            table.object_image, table.object_class, table.counts[0], some, table.num_classes
        )
        by_iou = 100 * ap.precision(table.class_starts, table.image, table.status[0], some, objects)
        return np.stack([by_iou[0], by_iou[FIRST_COCO:].mean(axis=0)])

    starts: Sequence[int] = range(0, weights.shape[1], measures.BLOCK)
    return np.concatenate(list(track(threads.in_order(block, starts), len(starts))), axis=2)
