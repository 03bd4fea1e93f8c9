"""Partial correlation over classes where one covariate is measured with noise, in two halves of the images.

A class whose baseline AP came out low by chance seems to gain, and seems to have had room to: noise of the
baseline in the response and in the covariate would invent or hide a correlation. So the response of one half
of the images meets the baseline AP of the other half only, and that AP's own variance is its covariance
between the halves, which noise does not enter: a covariate with noise takes less away than it should.
"""

from __future__ import annotations

import numpy as np

SQUARES_FROM = 40
"""Classes from which covariates enter with their squares: curves, but no more unknowns than classes bear."""
_LEAST_RELIABLE = 0.2
"""Share of the variance of a half's baseline AP that is taken to be signal, at least."""


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of (N,) values from -1 to 1, ties their mean; nan stays nan and is not counted."""
    there = ~np.isnan(values)
    _, place, count = np.unique(values[there], return_inverse=True, return_counts=True)
    placed = np.full(values.shape, np.nan)
    placed[there] = (2 * np.cumsum(count) - count - there.sum())[place] / max(there.sum() - 1, 1)
    return placed


def design(fixed: np.ndarray) -> np.ndarray:
    """(K, P) columns: 1, the ranks of the covariates and, with enough classes, their squares."""
    columns = [ranks(column) for column in fixed.T]
    squares = [column**2 for column in columns] if len(fixed) >= SQUARES_FROM else []
    return np.column_stack([np.ones(len(fixed)), *columns, *squares])


def moments(
    x: np.ndarray, known: np.ndarray, base: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(P + 3, P + 3) weighted second moments of known, base, x, y, in this order.

    x (K,), known (K, P), base and y (2, K) of two halves, weights (K,); classes that are nan in a half have
    weight 0.
    """
    there = ~(np.isnan(base) | np.isnan(y)).any(axis=0)
    w = np.where(there, weights, 0.0)
    base, y = np.where(there, base, 0.0), np.where(there, y, 0.0)
    p = known.shape[1]
    all_ = np.column_stack([known, base.mean(axis=0), x, y.mean(axis=0)])
    m = all_.T @ (all_ * w[:, None])
    m[p, p] = (w * base[0] * base[1]).sum()
    m[p, -1] = m[-1, p] = (w * (base[0] * y[1] + base[1] * y[0])).sum() / 2
    # Of the variance that the other covariates leave in the baseline, some has to be signal.
    plain = (w * base**2).sum() / 2
    solved = np.linalg.lstsq(m[:p, :p], m[:p, p], rcond=None)[0]
    explained = m[p, :p] @ solved
    m[p, p] = max(m[p, p], explained + _LEAST_RELIABLE * max(plain - explained, 1e-12))
    return m


def partial(m: np.ndarray) -> tuple[float, float]:
    """(correlation of x and y, slope of y on x) once all other columns of ``moments`` are taken away."""
    p = len(m) - 2
    left = m[p:, p:] - m[p:, :p] @ np.linalg.lstsq(m[:p, :p], m[:p, p:], rcond=None)[0]
    if left[0, 0] <= 1e-9 * m[p, p] or left[1, 1] <= 0:
        return np.nan, np.nan
    r = left[0, 1] / np.sqrt(left[0, 0] * left[1, 1])
    return float(np.clip(r, -0.999, 0.999)), float(left[0, 1] / left[0, 0])
