"""Classes by how many training images show them: gain and both factors of a band, with crossed intervals.

A band is a sample of classes, each on a sample of images, and most rare classes are in one to three test
images: these show next to nothing of how a class varies, but classes differ from each other by just that. So
classes are drawn with replacement, which holds the chance of their own images too, and images are drawn for
what classes that share them have in common; that alone is added, or the chance of images would count twice.
The interval is of other classes of the band and other images. How often it covers was simulated
(benchmarks/bench_bands.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.core import files
from wsl_det.core import seed as seeds
from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import MatchTable
from wsl_det.gain import estimates, factors, groups, measures
from wsl_det.gain.estimates import Estimate, number
from wsl_det.gain.side import Numbers, of_runs

PARTS = ("gain", "recognition", "localization")
BANDS = {"rare": "r", "common": "c", "frequent": "f"}
CUTS = {"r": (1, 10), "c": (11, 100), "f": (101, None)}
"""Training images of a class, both ends included, as LVIS has them."""
HOLDS = (90.0, 98.0)
"""Percent that a 95% interval must have covered to count as calibrated."""


def frequency(images: np.ndarray) -> list[str]:
    """K of "r", "c" or "f" by a number (K,) of training images; "" for classes in none."""
    return ["" if n < 1 else next(b for b, (_, most) in CUTS.items() if most is None or n <= most)
            for n in images.tolist()]  # fmt: skip


def by_frequency(
    a: Numbers, b: Numbers, layout: measures.Layout, table: MatchTable, seed: int
) -> list[tuple[dict[str, Any], list[Estimate]]]:
    """Of each band with classes in the test set what gain.json says of it, and its estimates of ``PARTS``."""
    seen_in = groups.images_of_classes(table)
    objects = np.bincount(table.object_class[table.counts[0]], minlength=table.num_classes)
    found = []
    for name, letter in BANDS.items():
        classes = np.flatnonzero((table.frequency == letter) & (seen_in > 0))
        if not len(classes):
            continue
        parts = crossed(a, b, layout, classes, seed)
        sides = [_means(one.mean[:, None], layout, classes)[0, 0] for one in (a, b)]
        images = seen_in[classes]
        row = {
            "name": name,
            "classes": len(classes),
            "objects": int(objects[classes].sum()),
            "images_a_class": [int(images.min()), float(np.median(images)), int(images.max())],
            "training_images": list(CUTS[letter]),
            "baseline": number(sides[0]),
            "candidate": number(sides[1]),
            "gain": number(parts[0].point),
            "interval": parts[0].record(),
            "factors": {
                part: {"gain": number(one.point), "interval": one.record()}
                for part, one in zip(PARTS[1:], parts[1:], strict=True)
            },
        }
        found.append((row | {"uncalibrated": uncalibrated(float(np.median(images)))}, parts))
    return found


def crossed(
    a: Numbers, b: Numbers, layout: measures.Layout, classes: np.ndarray, seed: int
) -> list[Estimate]:
    """Estimates of ``PARTS`` of the mean over ``classes``, all of which have objects."""

    def statistic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return parts_of(one, other, layout, classes)

    number_of, resamples = len(classes), a.replicates.shape[1]
    rng = seeds.numpy_generator("crossed bootstrap", seed, number_of)
    drawn = rng.multinomial(number_of, np.full(number_of, 1 / number_of), size=resamples).T / number_of
    points = [_of_classes(one.mean[:, None], layout, classes) for one in (a, b)]
    by_class = _parts(*((values * drawn).sum(axis=1) for values in points))
    by_image = statistic(a.replicates, b.replicates)
    # Each class with images drawn for it alone: what is lost is what classes have in common.
    turn = (np.arange(resamples) + rng.integers(resamples, size=(number_of, 1))) % resamples
    turned = (np.take_along_axis(_of_classes(x.replicates, layout, classes), turn[None], 2) for x in (a, b))
    alone = _parts(*(ap.mean_over_classes(one, 1) for one in turned))
    # All undefined (recognition from an AP of 0): nothing to spread, and nothing to warn of.
    known = np.ma.masked_invalid(by_image)
    own, whole = (x.var(axis=1).filled(0.0) for x in (np.ma.masked_invalid(alone), known))
    shared = np.sqrt(np.clip(1 - np.divide(own, whole, out=np.ones(len(PARTS)), where=whole > 0), 0, 1))
    replicates = by_class + shared[:, None] * (by_image - known.mean(axis=1, keepdims=True).filled(0.0))
    values = statistic(a.mean[:, None], b.mean[:, None])[:, 0]
    runs = of_runs(a, b, statistic), of_runs(b, a, lambda one, other: statistic(other, one))
    # Of the whole variance, drawing K classes makes (K - 1) / K.
    widen = math.sqrt(number_of / max(number_of - 1, 1))
    return [
        estimates.estimate(float(value), replicates[i], runs[0][i], runs[1][i], number_of, widen=widen)
        for i, value in enumerate(values)
    ]


def parts_of(a: np.ndarray, b: np.ndarray, layout: measures.Layout, classes: np.ndarray) -> np.ndarray:
    """(3, B) ``PARTS`` of the mean over ``classes`` from the columns (S, B) of both sides."""
    return _parts(_means(a, layout, classes), _means(b, layout, classes))


def _of_classes(columns: np.ndarray, layout: measures.Layout, classes: np.ndarray) -> np.ndarray:
    """(2, C, B) AP and AP at the loosest IoU of some classes."""
    return np.stack([columns[rows][classes] for rows in (layout.classes, layout.classes_loose)])


def _means(columns: np.ndarray, layout: measures.Layout, classes: np.ndarray) -> np.ndarray:
    """(2, B) their means, absent classes left out."""
    return ap.mean_over_classes(_of_classes(columns, layout, classes), 1)


def _parts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, B) ``PARTS`` from AP and AP at the loosest IoU (2, B) of both sides."""
    return np.stack([b[0] - a[0], *factors.two_factors(a[0], a[1], b[0], b[1])])


def uncalibrated(images_a_class: float) -> dict[str, float]:
    """Percent that intervals of ``PARTS`` covered at so many test images a class, where outside ``HOLDS``."""
    rows: Sequence[dict[str, Any]] = _measured()["by_images_a_class"]
    row = [one for one in rows if one["images_a_class"] <= images_a_class or one is rows[0]][-1]
    return {part: share for part, share in row["covered"].items() if not HOLDS[0] <= share <= HOLDS[1]}


@functools.cache
def _measured() -> dict[str, Any]:
    """What ``benchmarks/bench_bands.py`` writes with ``--write``."""
    found: dict[str, Any] = files.read_json(Path(__file__).with_name("bands.json"), "measured table")
    return found
