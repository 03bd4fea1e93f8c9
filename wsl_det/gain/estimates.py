"""A number, how sure it is, and from which sources the doubt comes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

PERCENTILES_FROM = 100
"""Resamples under which percentiles say too little: interval and p are then by Student's t."""


LACKING = np.array([1.74, 1.74, 1.74, 1.16])
"""How many times too small resampling makes the variance of a class that 0, 1, 2 or 3 images show.

The values of n images have (n - 1) / n of the variance. But a resample holds N of them, about Poisson, and a
mean over N varies with E[1 / N], N > 0, more than with 1 / n: from 4 images on that makes up for the rest.
One image shows no variance of its own and is taken as two.
"""


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with ``df`` degrees of freedom, which may be fractional or infinite."""
    from scipy import special  # takes a moment to load

    return float(special.stdtr(df, t))


def t_quantile(p: float, df: float) -> float:
    """The t with ``t_cdf(t, df)`` = p, for 0 < p < 1."""
    from scipy import special

    return float(special.stdtrit(df, p))


@dataclass(frozen=True)
class Estimate:
    """A statistic of two sides with its 95% interval.

    point: the value; nan where undefined. interval: (low, high), nan where undefined. p: two-sided, of a
    true value of 0, by the rule of the interval: below 0.05 just where 0 lies outside.
    standard_error: square root of the whole variance. image_variance: from resampling images, widened.
    seed_variance: s2_A / k_A + s2_B / k_B, or None where no side has two runs. in_both: the part of these
    two that is the same chance, which counts once (see ``estimate``). df: degrees of freedom of the
    interval, infinite for percentiles. undefined: resamples in which the statistic did not exist.
    """

    point: float
    interval: tuple[float, float]
    standard_error: float
    image_variance: float
    seed_variance: float | None
    in_both: float
    df: float
    undefined: int
    p: float = math.nan

    def record(self) -> list[float | None]:
        """The interval for JSON."""
        return [number(bound) for bound in self.interval]


def number(value: float) -> float | None:
    """A float for JSON; None where it is undefined."""
    return None if math.isnan(value) else float(value)


@dataclass(frozen=True)
class Runs:
    """A statistic with one run at a time standing for a side.

    values: (k,) one of each run. luck: the variance between these values that the choice of images
    alone makes, from the same resamples; 0 for a single run.
    """

    values: np.ndarray
    luck: float = 0.0


def runs_of(values: np.ndarray, resampled: np.ndarray) -> Runs:
    """``Runs`` of values (k,) and of the same under image resamples (k, B), which may hold nan.

    How far a resample moves one run from its fellows is that run's own luck with the images: the variance
    over runs of these moves, averaged over the resamples.
    """
    if len(values) < 2:
        return Runs(values)
    moves = resampled - values[:, None]
    moves = moves[:, ~np.isnan(moves).any(axis=0)]
    return Runs(values, float(np.var(moves, axis=0, ddof=1).mean()) if moves.shape[1] else 0.0)


def widening(replicates: np.ndarray, seen_in: np.ndarray, images: int) -> float:
    """How many times too small resampling makes the standard error of a mean over classes.

    replicates: (K, B) values of the classes under resamples, nan where undefined. seen_in: (K,) images of
    ``images`` that show the class; see ``LACKING``. Of the whole, resampling makes (images - 1) / images.
    """
    lacking = np.concatenate([LACKING, [1.0]])[np.minimum(seen_in, len(LACKING))]
    defined = [row[~np.isnan(row)] for row in replicates]
    variances = np.array([np.var(row) if len(row) else 0.0 for row in defined])
    total = float(variances.sum())
    by_class = float(variances @ lacking) / total if total > 0 else 1.0
    return math.sqrt(max(by_class, images / max(images - 1, 1)))


def estimate(
    point: float,
    replicates: np.ndarray,
    a: Runs,
    b: Runs | None,
    images: int,
    *,
    normal: bool = False,
    widen: float = 1.0,
) -> Estimate:
    """The estimate of a statistic from its image resamples and from its runs.

    replicates: (B,) values under resamples of ``images`` images, both sides averaged over their runs; nan
    where undefined. widen: as from ``widening``. With one run a side the interval is percentiles of the
    replicates, those that a normal law has ``widen`` times Student's t with images - 1 degrees of freedom
    from its centre (Hesterberg's expanded percentiles), and p their inversion, at least ``floor``; with
    ``normal`` (and where replicates are too few to reach that far) both are by that t on their standard
    error, ``widen`` times. With more runs they are Welch's t over

        image variance + s2_A / k_A + s2_B / k_B - in both.

    docs/method.md has the first three terms. The last is a refinement: runs differ by their seeds,
    and by how each happens to fare on these images. Resampling the images shows that luck, luck / k of
    it for the mean of k runs, and so does s2, as the runs at hand had it: without the correction it would
    count twice (localization, which hardly depends on the seed, covered 99 to 100% where 95% was meant;
    benchmarks/README.md). So the image variance keeps only what the runs of a side have in common, and is
    never less than 0. The degrees of freedom stay those of the s2, whole: that is what few runs leave in
    doubt.
    A side with one run borrows the variance of the other side's runs. A statistic of one side alone has no b.
    """
    defined = replicates[~np.isnan(replicates)]
    undefined = len(replicates) - len(defined)
    nan = math.nan
    if math.isnan(point) or len(defined) < 2 or images < 2:
        return Estimate(point, (nan, nan), nan, nan, None, nan, math.inf, undefined)
    image = float(np.var(defined, ddof=1)) * widen**2
    parts = _seed_parts(a, b)
    if not parts and not normal and floor(len(defined), images, widen):
        interval, p = _percentiles(defined, images, widen)
        return Estimate(point, interval, math.sqrt(image), image, None, 0.0, math.inf, undefined, p)
    if not parts:
        seed, both, total, df = None, 0.0, image, float(images - 1)
    else:
        seed = sum(variance for variance, _, _ in parts)
        both = min(image, widen**2 * sum(luck for _, luck, _ in parts))
        uncertain = sum(variance**2 / df for variance, _, df in parts)
        total = image - both + seed
        df = total**2 / uncertain if uncertain > 0 else math.inf
    error = math.sqrt(total)
    reach = t_quantile(0.975, df) * error
    p = 2 * t_cdf(-abs(point) / error, df) if error > 0 else float(point == 0)
    return Estimate(point, (point - reach, point + reach), error, image, seed, both, df, undefined, p)


def floor(resamples: int, images: int, widen: float = 1.0) -> float:
    """The least p that so many resamples can show by percentiles; 0 where they are too few for these."""
    least = 1 / (resamples + 1)
    few = resamples < PERCENTILES_FROM or _tail(images, widen) <= least
    return 0.0 if few else _level(least, images, widen)


def _tail(images: int, widen: float) -> float:
    """The share of the replicates that the 95% interval leaves out at either end."""
    return NormalDist().cdf(-widen * t_quantile(0.975, images - 1))


def _level(tail: float, images: int, widen: float) -> float:
    """The level of the interval with such a tail, two-sided."""
    return min(1.0, 2 * t_cdf(NormalDist().inv_cdf(tail) / widen, images - 1)) if tail < 1 else 1.0


def _percentiles(replicates: np.ndarray, images: int, widen: float) -> tuple[tuple[float, float], float]:
    """The 95% interval, and p as its inversion: the level at which an end of it meets 0."""
    tail = _tail(images, widen)
    low, high = np.quantile(replicates, [tail, 1 - tail])
    ordered = np.sort(replicates)
    beyond = min(_share_to_zero(ordered), _share_to_zero(-ordered[::-1]))
    p = _level(max(beyond, 1 / (len(replicates) + 1)), images, widen)
    return (float(low), float(high)), p


def _share_to_zero(ordered: np.ndarray) -> float:
    """The highest share whose quantile, as ``numpy.quantile`` has it, is not above 0."""
    at = int(np.searchsorted(ordered, 0.0, side="right"))
    if at in (0, len(ordered)):
        return float(at > 0)
    low, high = ordered[at - 1], ordered[at]
    return float((at - 1 - low / (high - low)) / (len(ordered) - 1))


def _seed_parts(a: Runs, b: Runs | None) -> list[tuple[float, float, int]]:
    """(variance of the side's mean, luck in it, degrees of freedom) of each source of seed variance."""
    given = [runs for runs in (a, b) if runs is not None]
    several = [runs for runs in given if len(runs.values) > 1]
    if not several or any(np.isnan(runs.values).any() for runs in several):
        return []
    # A lone run stands beside the mean of the others with their variance, undivided.
    lone = 1.0 if len(several) < len(given) else 0.0
    parts = []
    for runs in several:
        number = len(runs.values)
        share = 1 / number + lone
        parts.append((float(np.var(runs.values, ddof=1)) * share, runs.luck * share, number - 1))
    return parts


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p: calling those below a rate keeps false discoveries below it.

    nan (a class without objects) stays nan and does not count.
    """
    # Not scipy.stats: a second to load, and it fails where torch cannot be imported.
    adjusted = np.full(len(p_values), np.nan)
    there = np.flatnonzero(~np.isnan(p_values))
    order = there[np.argsort(p_values[there], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values made to hold together for the whole family (Holm 1979); None stays and does not count."""
    ranked = sorted((p, i) for i, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(ranked):
        found[i] = highest = max(highest, min(1.0, (len(ranked) - rank) * p))
    return found


def summary(value: Estimate) -> dict[str, Any]:
    """The variance of an estimate by source, for gain.json."""
    return {
        "standard_error": number(value.standard_error),
        "image_variance": number(value.image_variance),
        "seed_variance": value.seed_variance,
        "in_both": number(value.in_both),
        "df": None if math.isinf(value.df) else value.df,
    }
