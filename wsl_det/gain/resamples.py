"""Chance over images: bootstrap multiplicities."""

from __future__ import annotations

import numpy as np

from wsl_det.core import seed as seeds


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
