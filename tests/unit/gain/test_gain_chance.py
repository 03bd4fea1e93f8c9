"""p and interval: one rule, no contradiction, and nothing but the ranking of each side counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det.core import words
from wsl_det.evaluation import matching
from wsl_det.gain import comparison, estimates, measures, side
from wsl_det.gain.comparison import Options
from wsl_det.gain.estimates import Runs

NONE = Runs(np.zeros(1))


def percentile(replicates: np.ndarray, point: float = 0.0) -> estimates.Estimate:
    return estimates.estimate(point, replicates, NONE, NONE, 100)


@pytest.mark.parametrize("size", [100, 999, 1000])
def test_p_is_below_a_level_just_where_the_interval_of_that_level_leaves_out_0(size: int) -> None:
    rng = np.random.default_rng(size)
    # A normal law has these quantiles as many standard deviations out as Student's t of 99 says.
    tails = {level: stats.norm.cdf(stats.t(99).ppf(level / 2)) for level in (0.2, 0.05, 0.025)}
    for shift in np.linspace(-3.5, 3.5, 60):
        # Steps of a quarter: replicates tie with each other, and many are 0.
        replicates = np.round(4 * (rng.standard_normal(size) + shift)) / 4
        for values in (replicates, rng.standard_normal(size) + shift):
            one = percentile(values)
            for level, tail in tails.items():
                low, high = np.quantile(values, [tail, 1 - tail])
                assert (one.p < level) == bool(low > 0 or high < 0)
            assert one.interval == pytest.approx(np.quantile(values, [tails[0.05], 1 - tails[0.05]]).tolist())
            assert (one.p < 0.05) == (one.interval[0] > 0 or one.interval[1] < 0)


@pytest.mark.parametrize("size", [39, 100, 200, 1000])
@pytest.mark.parametrize("images", [2, 5, 12, 28, 300, 10**6])
def test_no_widening_makes_p_and_interval_contradict(size: int, images: int) -> None:
    """Also where the resamples do not reach as far out as the interval has to."""
    rng = np.random.default_rng(size)
    for widen in (1.0, 1.3):
        for shift in np.linspace(-4, 4, 17):
            values = rng.standard_normal(size) + shift
            one = estimates.estimate(shift, values, NONE, NONE, images, widen=widen)
            assert (one.p < 0.05) == (one.interval[0] > 0 or one.interval[1] < 0)
            assert one.p >= estimates.floor(size, images, widen)


def test_widening_is_what_resampling_lacks_of_the_variance() -> None:
    """Means over the images that show a class, which come and go with the resample: the law is known."""
    rng = np.random.default_rng(3)
    for n, lacking in ((2, 1.74), (3, 1.16), (4, 1.0), (8, 1.0)):
        law = stats.poisson(n)
        k = np.arange(1, 60)
        expected = n / (n - 1) / (n * (law.pmf(k) / k).sum() / law.sf(0))
        assert max(expected, 1) == pytest.approx(lacking, abs=0.015)
        found = []
        for _ in range(1500):
            values, drawn = rng.standard_normal(n), rng.poisson(1.0, (80, n))
            drawn = drawn[drawn.any(axis=1)]
            found.append((drawn @ values / drawn.sum(axis=1)).var(ddof=1))
        assert lacking * np.mean(found) == pytest.approx(1 / n, rel=0.07)
    two_and_five = np.array([[3.0, 3.0, np.nan, 4.0], [1.0, 2.0, 3.0, np.nan]])
    a, b = 2 / 9, 2 / 3
    expected = np.sqrt((1.74 * a + b) / (a + b))
    assert estimates.widening(two_and_five, np.array([2, 5]), 1000) == pytest.approx(expected)
    assert estimates.widening(two_and_five, np.array([4, 5]), 6) == pytest.approx(np.sqrt(6 / 5))
    assert estimates.widening(np.full((3, 9), np.nan), np.array([0, 1, 9]), 9) == pytest.approx(
        np.sqrt(9 / 8)
    )


def test_the_floor_of_p_is_that_of_the_resamples_and_is_printed_as_such() -> None:
    far = percentile(np.linspace(1, 2, 1000))
    least = 2 * stats.t(99).cdf(stats.norm.ppf(1 / 1001))
    assert far.p == pytest.approx(least, rel=1e-9) and far.p == estimates.floor(1000, 100)
    assert estimates.floor(1000, 10**7) == pytest.approx(2 / 1001, rel=1e-4)
    assert words.p_value(far.p, far.p) == "< 0.003"
    assert words.p_value(0.0001) == "< 0.001"
    assert words.p_value(0.0123, 2 / 1001) == "0.012"
    assert percentile(np.zeros(1000)).p == 1.0


def test_normal_estimates_are_students_t_and_have_no_floor() -> None:
    rng = np.random.default_rng(1)
    replicates = rng.standard_normal(1000)
    error = replicates.std(ddof=1)
    for images, point in ((8, 2.0), (30, 6 * error), (5000, -9.0)):
        one = estimates.estimate(point, replicates, NONE, NONE, images, normal=True)
        expected = stats.t(images - 1)
        assert one.p == pytest.approx(2 * expected.sf(abs(point) / error), rel=1e-9)
        reach = expected.ppf(0.975) * error
        assert one.interval == pytest.approx((point - reach, point + reach), abs=1e-12)
    # Few resamples make poor percentiles: normal then, and never a contradiction.
    few = estimates.estimate(1.0, rng.standard_normal(20) + 1, NONE, NONE, 50)
    assert (few.p < 0.05) == (few.interval[0] > 0)


def test_student_t_is_scipys() -> None:
    for df in (1, 2, 3.7, 30, 1e6, np.inf):
        law = stats.norm if np.isinf(df) else stats.t(df)
        assert estimates.t_quantile(0.975, df) == pytest.approx(law.ppf(0.975), abs=1e-12, rel=1e-12)
        assert estimates.t_cdf(-2.5, df) == pytest.approx(law.cdf(-2.5), abs=1e-12)


def test_false_discovery_on_a_worked_case() -> None:
    adjusted = estimates.false_discovery(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    assert adjusted[[0, 2, 3, 4]].tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02], abs=1e-12)
    assert np.isnan(adjusted[1])
    many = np.random.default_rng(2).random(1203) ** 3
    np.testing.assert_allclose(
        estimates.false_discovery(many), stats.false_discovery_control(many), rtol=1e-12
    )


def test_one_class_of_z_6_among_80_is_starred() -> None:
    """Its p, 1e-8, survives the adjustment; percentiles of 1,000 resamples end at .002 * 80 = .16."""
    rng = np.random.default_rng(0)
    replicates = rng.standard_normal((80, 1000))
    point = np.r_[6.0, rng.uniform(-1, 1, 79)] * replicates.std(axis=1, ddof=1)
    p = [
        estimates.estimate(float(x), r, NONE, NONE, 60, normal=True).p
        for x, r in zip(point, replicates, strict=True)
    ]
    adjusted = estimates.false_discovery(np.array(p))
    assert adjusted[0] < 0.001 and (adjusted[1:] > 0.05).all()


@pytest.fixture(scope="module")
def scene() -> simulation.World:
    return simulation.world(images=60, classes=5, seed=4)


def test_increasing_functions_of_one_sides_scores_change_nothing(scene: simulation.World) -> None:
    shapes = matching.object_shapes(scene.truth, "bbox")
    first, second = (simulation.detect(scene, d) for d in (Detector(missed=0.3), Detector(box_noise=0.05)))
    records = []
    for scores in (second.scores, 0.95 + second.scores / 20, second.scores**3):
        sides = [
            side.build([one], scene.truth, shapes, "bbox") for one in (first, replace(second, scores=scores))
        ]
        records.append(comparison.compare(*sides, Options(200, 10), measures.quiet))
    assert records[0] == records[1] == records[2]


def test_no_row_contradicts_its_interval_and_rare_classes_have_neither(scene: simulation.World) -> None:
    shapes = matching.object_shapes(scene.truth, "bbox")
    found = [simulation.detect(scene, d) for d in (Detector(missed=0.25), Detector(class_error=0.1))]
    truth = replace(scene.truth, object_class=np.where(np.arange(len(shapes.crowd)) % 50 == 0, 4, 0))
    sides = [side.build([one], truth, shapes, "bbox", oracles=False) for one in found]
    one = comparison.compare(*sides, Options(300, 0), measures.quiet)
    for row in [*one["metrics"].values(), *one["by_class"]]:
        if row["interval"][0] is None:
            assert row["p"] is None
        else:
            assert (row["p"] < 0.05) == (row["interval"][0] > 0 or row["interval"][1] < 0), row
    few = one["by_class"][4]
    assert 0 < few["images"] < comparison.FEWEST_IMAGES and few["gain"] is not None
    assert few["interval"] == few["AP50"]["interval"] == [None, None] and few["p_adjusted"] is None
