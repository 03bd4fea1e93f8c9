"""Capacity-boundness: what each word means, and how often the test says it when it is and is not so."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_det.study.scaling import bound
from wsl_det.study.scaling.bound import Comparison
from wsl_det.study.scaling.fit import Estimate, Observed

X = np.log10([1442.0, 2824.0, 5580.0, 10988.0])
LONG = np.log10([3.5e6, 1e7, 3.5e7, 1e8, 3.5e8, 1e9, 3.5e9])
NOISE = np.array([0.02, -0.03, 0.01, 0.02, -0.02, -0.01, 0.01])
ORDER = ["small", "middle", "large"]


def _pair(small: np.ndarray, large: np.ndarray, x: np.ndarray = X) -> dict[str, Observed]:
    return {"large": Observed(x, large, np.ones_like(x)), "small": Observed(x, small, np.ones_like(x))}


def _compare(small: np.ndarray, large: np.ndarray, x: np.ndarray = X) -> Comparison:
    (found,), mean = bound.compare([_pair(small, large, x)], ORDER)
    assert mean is None
    return found


def test_difference_of_slopes_is_exact_and_common_bends_drop_out() -> None:
    common = 20 + 5 * LONG - 0.8 * (LONG - 8) ** 2 + 3 * np.sin(7 * LONG)
    found = _compare(common, common + 1.5 * LONG - 8, LONG)
    assert found.difference.value == pytest.approx(1.5)
    assert found.difference.error == pytest.approx(0, abs=1e-6)
    assert (found.smaller, found.larger, found.sizes, found.df) == ("small", "large", 7, 5)


def test_two_way_fit_of_two_models_is_a_line_through_their_differences() -> None:
    rng = np.random.Generator(np.random.Philox(4))
    small, large = rng.normal(30, 1, 7), rng.normal(33, 1, 7) + LONG
    slope, level = np.polyfit(LONG, large - small, 1)
    rss = np.sum((large - small - slope * LONG - level) ** 2)
    error = np.sqrt(rss / 5 / np.sum((LONG - LONG.mean()) ** 2))
    found = _compare(small, large, LONG).difference
    assert (found.value, found.error) == pytest.approx((slope, error))


SHAPES = {
    bound.BOUND: (np.minimum(4 * (LONG - 6.5), 4.5), 4 * (LONG - 6.5)),
    bound.STEEPER: (4 * LONG, 6 * LONG),
    bound.OPEN: (np.minimum(4 * (LONG - 6.5), 4.5), np.minimum(6 * (LONG - 6.5), 9.5)),
    bound.REVERSED: (6 * LONG, 4 * LONG),
    bound.NOT_SHOWN: (4 * LONG, 4 * LONG + 3),
}


@pytest.mark.parametrize("word", SHAPES)
def test_each_word_has_its_shape(word: str) -> None:
    small, large = SHAPES[word]
    assert _compare(small + NOISE, large - NOISE[::-1], LONG).verdict == word


def test_verdicts_follow_the_intervals() -> None:
    def verdict(p: float | None, value: float, low: float, large_low: float, high: float = 2) -> str:
        difference = Estimate(value, 1, (0, 0), p)
        steps = Estimate(1, 1, (low, high), 0.1), Estimate(1, 1, (large_low, 9), 0.1)
        return Comparison(0, "s", "l", 4, difference, steps, 4, 1.0, larger_slope=5.0, family_p=p).verdict

    assert verdict(0.01, 2, -1, 1) == bound.BOUND
    assert verdict(0.01, 2, 1, 1) == bound.STEEPER
    assert verdict(0.01, 2, -1, -1) == bound.OPEN
    assert verdict(0.01, 2, -1, 1, high=2.6) == bound.OPEN
    assert verdict(0.01, -2, -1, 1) == bound.REVERSED
    assert verdict(0.06, 2, -1, 1) == bound.NOT_SHOWN
    assert verdict(None, 2, -1, 1) == bound.NOT_SHOWN


def test_only_common_sizes_count_and_three_are_needed() -> None:
    ones = np.ones(4)
    group = {"small": Observed(X, 4 * X, ones), "large": Observed(np.append(X[:2], [5, 6]), 5 * X, ones)}
    assert bound.compare([group], ORDER) == ([], None)
    assert bound.compare([{"small": Observed(X, 4 * X, ones)}], ORDER) == ([], None)


def test_three_capacities_are_each_held_against_the_largest() -> None:
    group = _pair(4 * LONG + NOISE, 6 * LONG - NOISE, LONG)
    group["middle"] = Observed(LONG[1:], 5 * LONG[1:], np.ones(6))
    found, _ = bound.compare([group], ORDER)
    assert [(one.smaller, one.larger, one.sizes) for one in found] == [
        ("small", "large", 7),
        ("middle", "large", 6),
    ]
    assert [round(one.difference.value, 1) for one in found] == [2, 1]
    assert found[0].df == 20 - 7 - 4


def test_mean_over_groups_takes_their_scatter_together() -> None:
    groups = [_pair(4 * X, 5 * X + 0.1 * NOISE[:4]), _pair(4 * X, 7 * X - 0.1 * NOISE[:4])]
    found, mean = bound.compare(groups, ORDER)
    assert mean is not None
    assert mean.value == pytest.approx(2)
    assert mean.error == pytest.approx(found[0].difference.error / np.sqrt(2))
    assert found[0].df == 4


def _simulated(
    rng: np.random.Generator, small: np.ndarray, large: np.ndarray, x: np.ndarray = X
) -> list[dict[str, Observed]]:
    """Two samplings; errors of the test images (common to all), of a size's images, of each run."""
    tests = rng.normal(0, 0.9)
    groups = []
    for _ in range(2):
        sizes = rng.normal(0, 0.3, len(small))
        own = rng.normal(0, 0.35, (2, len(small)))
        groups.append(_pair(small + tests + sizes + own[0], large + tests + sizes + own[1], x))
    return groups


def test_equal_slopes_are_called_different_one_time_in_twenty() -> None:
    """Size of the tests under bent curves and errors that points share; family-wise over two samplings."""
    rng = np.random.Generator(np.random.Philox(5))
    curve = 8 * (X - 3) - 2 * (X - 3.5) ** 2
    rounds, family, averaged, claimed = 1500, 0, 0, 0
    for _ in range(rounds):
        found, mean = bound.compare(_simulated(rng, curve, curve + 4), ORDER)
        family += any(one.verdict != bound.NOT_SHOWN for one in found)
        claimed += any(one.verdict == bound.BOUND for one in found)
        assert mean is not None
        averaged += mean.p is not None and mean.p < 0.05
    # Of 1,500 one in twenty is 75; 4 standard deviations are 34.
    assert abs(averaged - 75) < 34
    assert abs(family - 75) < 34
    assert claimed <= family / 2 + 10


@pytest.mark.parametrize("sizes", [4, 8])
def test_a_bound_model_is_found_and_one_that_still_gains_is_not_called_bound(sizes: int) -> None:
    rng = np.random.Generator(np.random.Philox(6))
    x = np.linspace(3, 3 + 0.3 * (sizes - 1), sizes)
    large, stopped, slower = 12 * (x - 3), np.minimum(12 * (x - 3), 12 * (x[sizes // 2] - 3)), 7 * (x - 3)
    rounds, differ, called, wrongly = 200, 0, 0, 0
    for _ in range(rounds):
        found, mean = bound.compare(_simulated(rng, stopped, large, x), ORDER)
        differ += mean is not None and mean.p is not None and mean.p < 0.05
        called += any(one.verdict == bound.BOUND for one in found)
        gaining, _ = bound.compare(_simulated(rng, slower, large, x), ORDER)
        wrongly += any(one.verdict == bound.BOUND for one in gaining)
    # A model with more than half the larger one's slope passes for bound one time in forty a curve at most.
    assert wrongly <= 0.06 * rounds
    if sizes == 8:
        assert differ > 0.95 * rounds
        assert called > 0.35 * rounds
    else:  # over less than a decade little can be shown, and nothing is claimed
        assert called < 0.05 * rounds
