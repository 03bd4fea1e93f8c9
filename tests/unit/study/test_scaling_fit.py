"""Lines in log10(images): known lines, weights, covariance, curvature, and how often the intervals hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wsl_det.gain.estimates import holm
from wsl_det.study.scaling import fit
from wsl_det.study.scaling.fit import Observed

X = np.log10([1250.0, 2500.0, 5000.0, 10000.0])


def _seen(y: np.ndarray, x: np.ndarray = X, w: np.ndarray | None = None) -> Observed:
    return Observed(x, np.asarray(y, float), np.ones_like(x) if w is None else w)


def test_points_on_a_line_give_the_line_and_no_scatter() -> None:
    lines, scatter = fit.together([_seen(3 + 7 * X), _seen(50 - 2 * X)])
    assert [tuple(line.found) for line in lines] == [
        pytest.approx((3, 7)),
        pytest.approx((50, -2)),
    ]
    assert (scatter.variance, scatter.df) == (0, 4)
    estimate = scatter.estimate(*lines[0].at(1))
    assert estimate.p is None
    assert estimate.interval == pytest.approx((7, 7))


def test_weights_covariance_and_band_agree_with_the_matrix_formulas() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    w, y = rng.uniform(0.5, 4, 4), rng.normal(20, 3, 4)
    (line,), scatter = fit.together([_seen(y, w=w)])
    design = np.stack([np.ones(4), X], axis=1)
    inverse = np.linalg.inv(design.T @ (w[:, None] * design))
    found = inverse @ design.T @ (w * y)
    variance = w @ (y - design @ found) ** 2 / 2
    assert tuple(line.found) == pytest.approx(tuple(found))
    assert scatter.variance == pytest.approx(variance)
    np.testing.assert_allclose(scatter.variance * line.factors, variance * inverse, rtol=1e-8)
    at = np.array([2.5, 3.7, 5.0])
    points = np.stack([np.ones(3), at], axis=1)
    half = stats.t.ppf(0.975, 2) * np.sqrt(np.diag(points @ (variance * inverse) @ points.T))
    value, low, high = fit.band(line, at, scatter)
    np.testing.assert_allclose(value, points @ found)
    np.testing.assert_allclose([value - low, high - value], [half, half], rtol=1e-8)


def test_lines_and_their_errors_are_scipys() -> None:
    y = np.array([10, 14, 15, 19.0])
    (line,), scatter = fit.together([_seen(y)])
    known = stats.linregress(X, y)
    found = scatter.estimate(*line.at(1))
    assert tuple(line.found) == pytest.approx((known.intercept, known.slope), rel=1e-10)
    assert (found.error, found.p) == pytest.approx((known.stderr, known.pvalue), rel=1e-10)
    half = stats.t.ppf(0.975, 2) * known.stderr
    assert found.interval == pytest.approx((known.slope - half, known.slope + half), rel=1e-10)


def test_a_weight_of_two_is_two_runs() -> None:
    y = np.array([10, 14, 15, 19.0])
    twice = np.append(X, X[2]), np.append(y, y[2])
    weighted = fit.line(_seen(y, w=np.array([1, 1, 2, 1.0])))
    doubled = fit.line(_seen(twice[1], x=twice[0]))
    assert tuple(weighted.found) == pytest.approx(tuple(doubled.found))


def test_curvature_is_found_with_its_sign_and_needs_four_sizes() -> None:
    noise = 0.01 * np.array([1, -1, 1, -1.0])
    bent, straight, short = fit.curvatures(
        [_seen(5 * X - 3 * (X - 3.5) ** 2 + noise), _seen(5 * X + noise), _seen((5 * X + noise)[:3], x=X[:3])]
    )
    assert bent is not None
    assert straight is not None
    assert short is None
    assert bent.value == pytest.approx(-3, abs=0.3)
    assert bent.p is not None
    assert bent.p < 0.01
    assert straight.p is not None
    assert straight.p > 0.2


def test_the_t_of_the_squared_term_is_the_f_of_leaving_it_out() -> None:
    y = np.array([10, 14, 15, 19, 19.5])
    x = np.append(X, 4.4)
    seen = _seen(y, x=x)
    (bent,) = fit.curvatures([seen])
    straight, curve = fit.line(seen).rss, fit.about_curves([seen])
    assert bent is not None
    f = (straight - curve.variance * curve.df) / curve.variance
    assert (bent.value / bent.error) ** 2 == pytest.approx(f)


def test_last_step_is_the_slope_between_the_two_largest_sizes() -> None:
    x = np.array([3, 3.5, 4, 4.0])
    value, factor = fit.last_step(_seen(np.array([1, 2, 5, 7.0]), x=x))
    assert value == pytest.approx((6 - 2) / 0.5)
    assert factor == pytest.approx((1 + 1 / 2) / 0.25)


def test_holm_keeps_order_and_leaves_out_what_is_unknown() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_slope_intervals_hold_whatever_all_points_share() -> None:
    """Errors on common test images: a point's interval is far too wide for slopes, the line's is not."""
    rng = np.random.Generator(np.random.Philox(2))
    truth, covered, binomial, rounds = 6.0, 0, 0, 1500
    for _ in range(rounds):
        # A common part of 0.9 points, and 0.4 of each point's own.
        shared = rng.normal(0, 0.9)
        seen = [_seen(truth * X + shared + rng.normal(0, 0.4, 4)) for _ in range(2)]
        lines, scatter = fit.together(seen)
        low, high = scatter.estimate(*lines[0].at(1)).interval
        covered += low <= truth <= high
        half = 1.96 * math.hypot(0.9, 0.4) * math.sqrt(lines[0].at(1)[1])
        binomial += abs(lines[0].at(1)[0] - truth) <= half
    # 95% of 1,500 is 1,425; chance keeps within 34 of it 99.99 times in a hundred.
    assert abs(covered - 0.95 * rounds) < 34
    assert binomial == pytest.approx(rounds, abs=5)
