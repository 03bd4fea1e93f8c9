"""Straight lines in log10(images), fitted together: weighted least squares with one common scatter. Pure.

value = a + b log10(images). Weights are relative: they say which observations are surer than others, and
the size of the scatter is taken from the residuals of all lines of a panel together, so that intervals
hold whether errors come from test images, training seeds or both, and whatever part of the error all
points share (the same test images), which moves lines up and down but tilts none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsl_det.gain.estimates import t_cdf, t_quantile

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
        half = t_quantile(0.975, self.df) * error
        p = 2 * t_cdf(-abs(value) / error, self.df) if error > 0 else None
        return Estimate(value, error, (value - half, value + half), p)


@dataclass(frozen=True)
class Solved:
    """Weighted least squares: parameters (P,), their covariance (P, P) for a scatter of 1, what is left."""

    found: Floats
    factors: Floats
    rss: float
    df: int

    def at(self, i: int) -> tuple[float, float]:
        """The i-th parameter and the factor of its variance."""
        return float(self.found[i]), float(self.factors[i, i])


def solve(columns: Sequence[NDArray[Any]], y: Floats, w: Floats) -> Solved:
    """Least squares of ``y`` (N,) on columns (N,) with weights ``w`` (N,)."""
    root = np.sqrt(w)
    design = np.stack(columns, axis=1).astype(float) * root[:, None]
    inverse = np.linalg.pinv(design)
    found = inverse @ (root * y)
    rest = root * y - design @ found
    df = len(y) - int(np.linalg.matrix_rank(design))
    return Solved(found, inverse @ inverse.T, float(rest @ rest), df)


def line(seen: Observed) -> Solved:
    """Weighted least squares through observations at two or more sizes; the parameters are a and b."""
    return solve([np.ones_like(seen.x), seen.x], seen.y, seen.w)


def band(one: Solved, x: Floats, about: Scatter) -> tuple[Floats, Floats, Floats]:
    """A line and the bounds of its 95% interval at ``x``, each (len(x),)."""
    at = np.stack([np.ones_like(x), x], axis=1)
    value = at @ one.found
    half = t_quantile(0.975, about.df) * np.sqrt(
        about.variance * np.einsum("ij,jk,ik->i", at, one.factors, at)
    )
    return value, value - half, value + half


def together(seen: Sequence[Observed]) -> tuple[list[Solved], Scatter]:
    """A line through each of the sets, and the scatter about all of them.

    Every set needs ``LEAST_SIZES`` different sizes, so that the degrees of freedom are one a line or more.
    """
    lines = [line(one) for one in seen]
    return lines, scatter(lines, seen)


def scatter(solved: Sequence[Solved], seen: Sequence[Observed]) -> Scatter:
    """The scatter that is left of ``seen`` by what was solved together."""
    rss = sum(one.rss for one in solved)
    # Points exactly on their lines leave rounding errors, which are no scatter.
    nothing = _ROUNDING * sum(float(one.w @ one.y**2) for one in seen)
    df = sum(one.df for one in solved)
    return Scatter(rss / df if rss > nothing else 0.0, df)


def curvatures(seen: Sequence[Observed]) -> list[Estimate | None]:
    """The coefficient of a squared term in log10(images) for each line; None under ``CURVATURE_SIZES``.

    Points a tenfold, squared: negative flattens. All lines that can have the term get it, and the scatter
    is what then remains; the square of its t is the F of the term with 1 degree of freedom.
    """
    curves = [_curve(one) for one in seen]
    if sum(one.df for one in curves) < 1:
        return [None] * len(curves)
    about = scatter(curves, seen)
    bent = [len(one.found) == 3 for one in curves]
    return [about.estimate(*one.at(2)) if yes else None for one, yes in zip(curves, bent, strict=True)]


def about_curves(seen: Sequence[Observed]) -> Scatter:
    """The scatter about lines with a squared term where sizes allow one, so that bends are no scatter."""
    curves = [_curve(one) for one in seen]
    return scatter(curves, seen) if sum(one.df for one in curves) > 0 else together(seen)[1]


def _curve(one: Observed) -> Solved:
    powers = np.vander(one.x - one.x.mean(), 3 if one.sizes >= CURVATURE_SIZES else 2, increasing=True)
    return solve(list(powers.T), one.y, one.w)


def last_step(seen: Observed) -> tuple[float, float]:
    """The slope a tenfold between the two largest sizes, and the factor of its variance."""
    sizes = np.unique(seen.x)
    means = solve([seen.x == size for size in sizes], seen.y, seen.w)
    wide = float(sizes[-1] - sizes[-2])
    factor = float(means.factors[-1, -1] + means.factors[-2, -2])
    return float(means.found[-1] - means.found[-2]) / wide, factor / wide**2
