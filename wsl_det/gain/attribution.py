"""Attribution of AP to kinds of error in the game ln AP: localization first, Shapley over the rest. Pure."""

from __future__ import annotations

import math

import numpy as np

from wsl_det.gain import factors
from wsl_det.gain.mends import KINDS, LOCALIZATION, SUBSETS


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


def _weights() -> np.ndarray:
    """(5, 17) W with burdens = W @ ln v, v in the order of ``SUBSETS``.

    Localization's burden is what it mends alone and first; the four others share the rest over the subsets
    with localization mended. Shared over all five, localization is biased (docs/method.md).
    """
    first = KINDS.index("localization")
    weights = np.zeros((len(KINDS), len(SUBSETS)))
    weights[first, [SUBSETS.index(LOCALIZATION), 0]] = 1, -1
    others = [i for i in range(len(KINDS)) if i != first]
    for subset, column in enumerate(shapley_weights(len(others)).T):
        mask = LOCALIZATION | sum(1 << i for place, i in enumerate(others) if subset >> place & 1)
        weights[others, SUBSETS.index(mask)] = column
    return weights


_WEIGHTS = _weights()


def burdens(values: np.ndarray) -> np.ndarray:
    """(5, B) what each kind costs, in logarithms of AP; they add to ln 100 - ln AP.

    values: (17, B) percent from ``mends.values``; nan where any of them is not positive.
    """
    good = (values > 0).all(axis=0)
    return np.where(good, _WEIGHTS @ np.log(np.where(good, values, 1.0)), np.nan)


def shares(values_a: np.ndarray, values_b: np.ndarray) -> np.ndarray:
    """(5, B) points of AP that each kind contributes to the gain from a to b; they add to the gain."""
    mean = factors.logarithmic_mean(values_a[0], values_b[0])
    return mean * (burdens(values_a) - burdens(values_b))
