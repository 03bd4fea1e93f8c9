"""Class tables whose gains have one planted cause: a class's score is the mean of its images'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.gain import resamples
from wsl_det.gain.class_gains import SPLITS, ClassGains, Halved
from wsl_det.gain.pays import Hashtags

CAUSES = ("hashtags", "nothing", "frequency", "headroom", "size", "zeros")


@dataclass(frozen=True)
class Planted:
    tags: Hashtags
    halved: Halved
    truth: GroundTruth


def plant(cause: str, seed: int, classes: int = 80, images: int = 500, bootstrap: int = 80) -> Planted:
    """Hashtag counts go with the frequency of objects, their size and the baseline's AP, whatever the cause.

    A baseline that is low by chance seems to gain. With ``zeros`` 40% of the classes have AP 0 on the
    baseline and half of these on the candidate, too; the others gain by headroom.
    """
    rng = np.random.default_rng([seed, CAUSES.index(cause)])
    frequency, size = rng.normal(size=(2, classes))
    ap = np.clip(35 + 8 * frequency + 5 * size + 9 * rng.normal(size=classes), 3, 95)
    liked = 0.5 * frequency + 0.3 * size + 0.3 * (ap - 35) / 12 + 0.7 * rng.normal(size=classes)
    covered = rng.random(classes) < 0.6
    tags = np.where(covered, np.round(10 ** (3 + liked)), 0)
    zero = (rng.random(classes) < 0.4) & (cause == "zeros")
    ap = np.where(zero, 0.0, ap)
    gain = (
        rng.normal(size=classes)
        + {
            "hashtags": np.where(covered, 2.5 + 2 * liked, 0),
            "nothing": 0.0,
            "frequency": -2.0 * frequency,
            "headroom": 0.12 * (100 - ap),
            "size": 2.0 * size,
            "zeros": 0.12 * (100 - ap),
        }[cause]
    )
    gain = np.where(zero & (rng.random(classes) < 0.5), 0.0, np.where(zero, np.abs(gain), gain))
    shown = rng.random((classes, images)) < np.clip(0.03 * np.exp(0.9 * frequency), 0.006, 0.5)[:, None]
    shown[:, 0] |= ~shown.any(axis=1)
    base = np.where(ap[:, None] > 0, ap[:, None] + 25 * rng.normal(size=shown.shape), 0.0)
    after = gain[:, None] + np.where(gain[:, None] != 0, 12 * rng.normal(size=shown.shape), 0)
    after = after - 0.15 * (base - ap[:, None])
    halved = _halved(shown, base, after, bootstrap, seed, rng)
    return Planted(
        Hashtags(tags, tags > 0, (tags > np.median(tags[tags > 0])).astype(float),
                 np.round(np.exp(5 + 1.2 * frequency)), "training objects", np.exp(4 + 0.5 * size), "0" * 64,
                 "posts"),
        halved,
        _truth(shown),
    )  # fmt: skip


def _halved(
    shown: np.ndarray,
    base: np.ndarray,
    after: np.ndarray,
    bootstrap: int,
    seed: int,
    rng: np.random.Generator,
) -> Halved:
    images = shown.shape[1]
    one = np.ones((images, SPLITS), dtype=float)
    weights = np.concatenate([one, resamples.multiplicities(images, bootstrap, seed)], axis=1)
    first = rng.integers(0, 2, weights.shape)
    halves = np.stack([weights * first, weights * (1 - first)], axis=2).reshape(images, -1)
    every = np.concatenate([one[:, :1], halves], axis=1)
    with np.errstate(invalid="ignore"):
        a, d = ((np.where(shown, x, 0) @ every) / (shown.astype(float) @ every) for x in (base, after))
    a, b = np.clip(a, 0, 100), np.clip(a + d, 0, 100)
    recognition = np.where((a > 0) & (b > 0), 0.6 * (b - a), np.nan)
    parts = (slice(1), slice(1, 1 + 2 * SPLITS), slice(1 + 2 * SPLITS, None))
    return Halved(*(ClassGains(a[:, p], (b - a)[:, p], recognition[:, p]) for p in parts))


def _truth(shown: np.ndarray) -> GroundTruth:
    classes, images = shown.shape
    k, i = np.nonzero(shown)
    order = np.argsort(i, kind="stable")
    k, i, objects = k[order], i[order], len(k)
    return GroundTruth(
        image_ids=np.arange(images),
        image_sizes=np.full((images, 2), 100),
        file_names=[None] * images,
        category_ids=np.arange(classes),
        category_names=[f"class {c}" for c in range(classes)],
        object_ids=np.arange(1, objects + 1),
        object_image=i.astype(np.int32),
        object_class=k.astype(np.int32),
        object_boxes_xywh=np.tile([1.0, 1.0, 10.0, 10.0], (objects, 1)),
        object_area=np.full(objects, 100.0),
        object_crowd=np.zeros(objects, dtype=bool),
        segmentations=[None] * objects,
        source="planted",
    )
