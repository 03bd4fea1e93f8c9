"""A number, how sure it is, and from which sources the doubt comes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsl_det.gain import student_t


@dataclass(frozen=True)
class Estimate:
    """A statistic of two sides with its 95% interval.

    point: the value; nan where undefined. interval: (low, high), nan where undefined.
    standard_error: square root of the whole variance. image_variance: from resampling images.
    seed_variance: s2_A / k_A + s2_B / k_B, or None where no side has two runs. df: degrees of freedom
    of the interval, infinite without seeds. undefined: resamples in which the statistic did not exist.
    """

    point: float
    interval: tuple[float, float]
    standard_error: float
    image_variance: float
    seed_variance: float | None
    df: float
    undefined: int

    def record(self) -> list[float | None]:
        """The interval for JSON."""
        return [number(bound) for bound in self.interval]

    def p_value(self) -> float:
        """Two-sided p of a value this far from 0, by the t distribution of the estimate."""
        if math.isnan(self.standard_error):
            return math.nan
        if self.standard_error == 0:
            return 1.0 if self.point == 0 else 0.0
        return 2 * student_t.cdf(-abs(self.point) / self.standard_error, self.df)


def number(value: float) -> float | None:
    """A float for JSON; None where it is undefined."""
    return None if math.isnan(value) else float(value)


def estimate(
    point: float,
    replicates: np.ndarray,
    of_runs_a: np.ndarray,
    of_runs_b: np.ndarray,
    *,
    normal: bool = False,
) -> Estimate:
    """The estimate of a statistic from its image resamples and from its runs.

    replicates: (B,) values under image resamples, both sides averaged over their runs; nan where
    undefined. of_runs_a, of_runs_b: (k,) values with one run standing for the side's average, whose
    spread is the side's seed variance. With one run a side the interval is the percentiles of the
    replicates, or, with ``normal``, point +- 1.96 standard errors (percentiles of few are noisy).
    With more, Welch's t over image variance + s2_A / k_A + s2_B / k_B (design.md section 5).
    A side with one run borrows the variance of the other side's runs.
    """
    defined = replicates[~np.isnan(replicates)]
    undefined = len(replicates) - len(defined)
    if math.isnan(point) or len(defined) < 2:
        nan = math.nan
        return Estimate(point, (nan, nan), nan, nan, None, math.inf, undefined)
    image = float(np.var(defined, ddof=1))
    parts = _seed_parts(of_runs_a, of_runs_b)
    if not parts:
        error = math.sqrt(image)
        if normal:
            reach = student_t.quantile(0.975, math.inf) * error
            interval = (point - reach, point + reach)
        else:
            low, high = np.percentile(defined, [2.5, 97.5])
            interval = (float(low), float(high))
        return Estimate(point, interval, error, image, None, math.inf, undefined)
    seed = sum(variance for variance, _ in parts)
    uncertain = sum(variance**2 / df for variance, df in parts)
    df = (image + seed) ** 2 / uncertain if uncertain > 0 else math.inf
    error = math.sqrt(image + seed)
    reach = student_t.quantile(0.975, df) * error
    return Estimate(point, (point - reach, point + reach), error, image, seed, df, undefined)


def _seed_parts(of_runs_a: np.ndarray, of_runs_b: np.ndarray) -> list[tuple[float, int]]:
    """(variance of the side's mean, its degrees of freedom) of each source of seed variance."""
    sides = [of_runs_a, of_runs_b]
    several = [runs for runs in sides if len(runs) > 1]
    if not several or any(np.isnan(runs).any() for runs in several):
        return []
    if len(several) == 1:
        runs = several[0]
        return [(float(np.var(runs, ddof=1)) * (1 + 1 / len(runs)), len(runs) - 1)]
    return [(float(np.var(runs, ddof=1)) / len(runs), len(runs) - 1) for runs in sides]


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p: calling those below a rate keeps false discoveries below it.

    nan (a class without objects) stays nan and does not count.
    """
    adjusted = np.full(len(p_values), np.nan)
    there = np.flatnonzero(~np.isnan(p_values))
    order = there[np.argsort(p_values[there], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def summary(value: Estimate) -> dict[str, Any]:
    """The variance of an estimate by source, for gain.json."""
    return {
        "standard_error": number(value.standard_error),
        "image_variance": number(value.image_variance),
        "seed_variance": value.seed_variance,
        "df": None if math.isinf(value.df) else value.df,
    }
