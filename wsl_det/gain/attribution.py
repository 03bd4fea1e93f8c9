"""Attribution of AP to kinds of error: Shapley values of the mends in the game ln AP. Pure."""

from __future__ import annotations

import math

import numpy as np

from wsl_det.gain import factors
from wsl_det.gain.mends import KINDS


def shapley_weights(players: int) -> np.ndarray:
    """(P, 2^P) W with burdens = W @ ln v: Shapley's average over all orders of mending."""
    weights = np.zeros((players, 1 << players))
    for i in range(players):
        for subset in range(1 << players):
            if subset >> i & 1:
                continue
            size = subset.bit_count()
            share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            weights[i, subset | 1 << i] += share
            weights[i, subset] -= share
    return weights


_WEIGHTS = shapley_weights(len(KINDS))


def burdens(values: np.ndarray) -> np.ndarray:
    """(5, B) what each kind costs, in logarithms of AP; they add to ln 100 - ln AP.

    values: (32, B) percent from ``mends.values``; nan where any of them is not positive.
    """
    good = (values > 0).all(axis=0)
    return np.where(good, _WEIGHTS @ np.log(np.where(good, values, 1.0)), np.nan)


def shares(values_a: np.ndarray, values_b: np.ndarray) -> np.ndarray:
    """(5, B) points of AP that each kind contributes to the gain from a to b; they add to the gain."""
    mean = factors.logarithmic_mean(values_a[0], values_b[0])
    return mean * (burdens(values_a) - burdens(values_b))
