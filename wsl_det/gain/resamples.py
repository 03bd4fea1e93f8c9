"""Chance over images: bootstrap multiplicities, and swaps of the two sides image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wsl_det.core import seed as seeds
from wsl_det.evaluation.match_table import MatchTable


def multiplicities(num_images: int, num_resamples: int, seed: int) -> np.ndarray:
    """(I, B) uint8: how often each image is in each resample of I images drawn with replacement.

    True multiplicities: an image drawn three times counts three times. Resample b is a pure
    function of (seed, number of images, b), so more resamples extend fewer.
    """
    result = np.zeros((num_resamples, num_images), dtype=np.uint8)
    rng = seeds.numpy_generator("gain bootstrap", seed, num_images)
    for b in range(num_resamples):
        drawn = rng.integers(num_images, size=num_images)
        # More than 255 copies of an image have no chance to occur beyond a handful of images.
        result[b] = np.minimum(np.bincount(drawn, minlength=num_images), 255)
    return np.ascontiguousarray(result.T)


def coins(num_images: int, num_swaps: int, seed: int) -> np.ndarray:
    """(I, B) uint8 of 0 and 1: whether an image's detections change sides in a swap."""
    rng = seeds.numpy_generator("gain swaps", seed, num_images)
    return np.ascontiguousarray(rng.integers(2, size=(num_swaps, num_images), dtype=np.uint8).T)


def merged(a: MatchTable, b: MatchTable) -> MatchTable:
    """Both sides' detections in one ranking; those of ``b`` belong to images I .. 2I - 1.

    With weights 1 for one side and 0 for the other, image by image, it is the list of a detector
    that answered as ``a`` on some images and as ``b`` on the rest, without sorting again.
    """
    label_a, label_b = (np.repeat(np.arange(t.num_classes), np.diff(t.class_starts)) for t in (a, b))
    label = np.concatenate([label_a, label_b])
    score, image = np.concatenate([a.score, b.score]), np.concatenate([a.image, b.image])
    order = np.lexsort((image, -score, label))
    image = np.concatenate([a.image, b.image + np.int32(a.num_images)])
    return replace(
        a,
        class_starts=a.class_starts + b.class_starts,
        score=score[order],
        image=image[order],
        rank=np.concatenate([a.rank, b.rank])[order],
        row=np.concatenate([a.row, b.row])[order],
        matched=np.concatenate([a.matched, b.matched], axis=1)[:, order],
        status=np.concatenate([a.status, b.status], axis=2)[:, :, order],
    )
