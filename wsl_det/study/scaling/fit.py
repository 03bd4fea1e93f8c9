"""Straight lines in log10(images), fitted together: weighted least squares with one common scatter. Pure.

value = a + b log10(images). Weights are relative: they say which observations are surer than others, and
the size of the scatter is taken from the residuals of all lines of a panel together, so that intervals
hold whether errors come from test images, training seeds or both, and whatever part of the error all
points share (the same test images), which moves lines up and down but tilts none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsl_det.gain import estimates

quantile = functools.cache(estimates.t_quantile)
"""Few different p and degrees of freedom, many estimates."""
Floats = NDArray[np.float64]
LEAST_SIZES = 3
"""Different numbers of images that a line needs: two would leave nothing to judge it by."""
CURVATURE_SIZES = 4
_ROUNDING = 1e-26


@dataclass(frozen=True)
class Observed:
    """The observations of one line: log10 of the images, percent, relative weights; each (N,)."""

    x: Floats
    y: Floats
    w: Floats

    @property
    def sizes(self) -> int:
        """Number of different sizes."""
        return len(np.unique(self.x))


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, 95% interval and two-sided p against 0 (None without scatter)."""

    value: float
    error: float
    interval: tuple[float, float]
    p: float | None


@dataclass(frozen=True)
class Scatter:
    """The variance of an observation of weight 1 about its line, and its degrees of freedom."""

    variance: float
    df: int

    def estimate(self, value: float, factor: float) -> Estimate:
        """``value`` whose variance is ``factor`` times the scatter's, by Student's t."""
        error = math.sqrt(self.variance * factor)
        half = quantile(0.975, self.df) * error
        p = 2 * estimates.t_cdf(-abs(value) / error, self.df) if error > 0 else None
        return Estimate(value, error, (value - half, value + half), p)


@dataclass(frozen=True)
class Line:
    """A fitted line: value at ``centre``, slope a tenfold; the two are uncorrelated.

    ``level_factor`` and ``slope_factor`` times the scatter's variance are their variances.
    """

    centre: float
    level: float
    slope: float
    level_factor: float
    slope_factor: float
    rss: float

    @property
    def intercept(self) -> float:
        """a of value = a + b log10(images)."""
        return self.level - self.slope * self.centre

    def covariance(self, scatter: Scatter) -> list[list[float]]:
        """(2, 2) of a and b."""
        both = -self.centre * self.slope_factor
        first = self.level_factor + self.centre**2 * self.slope_factor
        return [[scatter.variance * v for v in row] for row in ((first, both), (both, self.slope_factor))]

    def band(self, x: Floats, scatter: Scatter) -> tuple[Floats, Floats, Floats]:
        """The line and the bounds of its 95% interval at ``x``, each (len(x),)."""
        value = self.level + self.slope * (x - self.centre)
        error = np.sqrt(scatter.variance * (self.level_factor + (x - self.centre) ** 2 * self.slope_factor))
        half = quantile(0.975, scatter.df) * error
        return value, value - half, value + half


def line(seen: Observed) -> Line:
    """Weighted least squares through observations at two or more sizes."""
    total = float(seen.w.sum())
    centre = float(seen.w @ seen.x) / total
    level = float(seen.w @ seen.y) / total
    across = seen.x - centre
    spread = float(seen.w @ across**2)
    slope = float(seen.w @ (across * (seen.y - level))) / spread
    rest = seen.y - level - slope * across
    return Line(centre, level, slope, 1 / total, 1 / spread, float(seen.w @ rest**2))


def together(seen: Sequence[Observed]) -> tuple[list[Line], Scatter]:
    """A line through each of the sets, and the scatter about all of them.

    Every set needs ``LEAST_SIZES`` different sizes, so that the degrees of freedom are one a line or more.
    """
    lines = [line(one) for one in seen]
    df = sum(len(one.x) for one in seen) - 2 * len(lines)
    return lines, scatter(sum(one.rss for one in lines), df, seen)


def scatter(rss: float, df: int, seen: Sequence[Observed]) -> Scatter:
    """The scatter that a sum of squared residuals of ``seen`` stands for."""
    # Points exactly on their lines leave rounding errors, which are no scatter.
    nothing = _ROUNDING * sum(float(one.w @ one.y**2) for one in seen)
    return Scatter(rss / df if rss > nothing else 0.0, df)


def curvatures(seen: Sequence[Observed]) -> list[Estimate | None]:
    """The coefficient of a squared term in log10(images) for each line; None under ``CURVATURE_SIZES``.

    Points a tenfold, squared: negative flattens. All lines that can have the term get it, and the scatter
    is what then remains; the square of its t is the F of the term with 1 degree of freedom.
    """
    curves = [_curve(one) for one in seen]
    about = _about(curves, seen)
    if about is None:
        return [None] * len(curves)
    return [None if one.bend is None else about.estimate(*one.bend) for one in curves]


def about_curves(seen: Sequence[Observed]) -> Scatter:
    """The scatter about lines with a squared term where sizes allow one, so that bends are no scatter."""
    return _about([_curve(one) for one in seen], seen) or together(seen)[1]


@dataclass(frozen=True)
class _Curve:
    """``bend``: coefficient of the squared term and the factor of its variance; None for a straight line."""

    bend: tuple[float, float] | None
    rss: float
    parameters: int


def _curve(one: Observed) -> _Curve:
    straight = line(one)
    if one.sizes < CURVATURE_SIZES:
        return _Curve(None, straight.rss, 2)
    across, root = one.x - straight.centre, np.sqrt(one.w)
    columns = np.stack([np.ones_like(across), across, across**2], axis=1) * root[:, None]
    inverse = np.linalg.inv(columns.T @ columns)
    found = inverse @ columns.T @ (one.y * root)
    rest = one.y * root - columns @ found
    return _Curve((float(found[2]), float(inverse[2, 2])), float(rest @ rest), 3)


def _about(curves: Sequence[_Curve], seen: Sequence[Observed]) -> Scatter | None:
    df = sum(len(one.x) for one in seen) - sum(one.parameters for one in curves)
    return scatter(sum(one.rss for one in curves), df, seen) if df > 0 else None


def last_step(seen: Observed) -> tuple[float, float]:
    """The slope a tenfold between the two largest sizes, and the factor of its variance."""
    below, top = np.unique(seen.x)[-2:]
    weights = [float(seen.w[seen.x == x].sum()) for x in (below, top)]
    means = [
        float(seen.w[seen.x == x] @ seen.y[seen.x == x]) / w
        for x, w in zip((below, top), weights, strict=True)
    ]
    wide = float(top - below)
    return (means[1] - means[0]) / wide, sum(1 / w for w in weights) / wide**2


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values made to hold together for the whole family (Holm 1979); None stays and does not count."""
    ranked = sorted((p, i) for i, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p))
        found[i] = highest
    return found
