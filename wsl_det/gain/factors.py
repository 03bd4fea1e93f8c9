"""Two factors of a gain: AP = AP@tau x q(tau). Pure; percent in, points of AP out.

AP@tau, at a loose IoU, is blind to how well boxes fit; q = AP / AP@tau is how much of it survives the
stricter thresholds. The logarithmic mean turns the ratio of each factor into its share of the difference.
"""

from __future__ import annotations

import numpy as np


def logarithmic_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L(a, b) = (b - a) / ln(b / a), L(a, a) = a; nan unless both are positive."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    good = (a > 0) & (b > 0)
    a, b = np.where(good, a, 1.0), np.where(good, b, 1.0)
    # ln(b / a) / 2 = atanh(x) with x = (b - a) / (b + a), and atanh(x) / x -> 1: no cancellation near a = b.
    x = (b - a) / (a + b)
    ratio = np.divide(np.arctanh(x), x, out=np.ones_like(x), where=x != 0)
    return np.where(good, (a + b) / (2 * ratio), np.nan)


def two_factors(
    ap_a: np.ndarray, anchor_a: np.ndarray, ap_b: np.ndarray, anchor_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(recognition, localization) in points of AP; they add to ap_b - ap_a and change sign with the sides.

    nan where an AP or an AP@tau is not positive.
    """
    arrays = [np.asarray(x, dtype=np.float64) for x in (ap_a, anchor_a, ap_b, anchor_b)]
    good = np.logical_and.reduce([x > 0 for x in arrays])
    ap_a, anchor_a, ap_b, anchor_b = (np.where(good, x, 1.0) for x in arrays)
    mean = logarithmic_mean(ap_a, ap_b)
    recognition = mean * (np.log(anchor_b) - np.log(anchor_a))
    localization = (ap_b - ap_a) - recognition
    return np.where(good, recognition, np.nan), np.where(good, localization, np.nan)
