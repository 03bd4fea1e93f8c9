"""Chance as a pure function of (key, counter): any number of a sequence without those before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_RANGE = 2.0**64


def splitmix64(key: int, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The ``counters``-th outputs (from 0) of the SplitMix64 generator seeded with ``key``."""
    z = np.uint64(key & 0xFFFFFFFFFFFFFFFF) + (counters + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(key: int, counters: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one for each counter, in the shape of ``counters``."""
    return (splitmix64(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(key: int, length: int) -> NDArray[np.int64]:
    """A permutation of 0..length-1 that depends on ``key`` alone and on no library version."""
    return np.argsort(splitmix64(key, np.arange(length, dtype=np.uint64)), kind="stable")


def lowest(values: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    """True for the ``values`` in the lowest ``fraction`` (0..1) of the range of 64 bits.

    What a smaller fraction takes, a larger one takes too.
    """
    if fraction >= 1:
        return np.ones(values.shape, dtype=np.bool_)
    return values < np.uint64(int(fraction * _RANGE))
