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
    for shift in np.linspace(-3.5, 3.5, 60):
        # Steps of a quarter: replicates tie with each other, and many are 0.
        replicates = np.round(4 * (rng.standard_normal(size) + shift)) / 4
        for values in (replicates, rng.standard_normal(size) + shift):
            one = percentile(values)
            for level in (0.2, 0.05, 0.025):
                low, high = ends(values, level)
                assert (one.p < level) == bool(low > 0 or high < 0)
            assert one.interval == pytest.approx(ends(values, 0.05))
            assert (one.p < 0.05) == (one.interval[0] > 0 or one.interval[1] < 0)


def ends(values: np.ndarray, level: float, images: int = 100) -> tuple[float, float]:
    """The quantiles that a normal law has as many standard deviations out as Student's t says."""
    tail = stats.norm.cdf(stats.t(images - 1).ppf(level / 2))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@pytest.mark.parametrize("size", [39, 100, 200, 1000])
@pytest.mark.parametrize("images", [2, 5, 12, 28, 300, 10**6])
def test_no_widening_makes_p_and_interval_contradict(size: int, images: int) -> None:
    """Also where the resamples do not reach as far out as the interval has to."""
    rng = np.random.default_rng(size)
    for widen in (1.0, 1.1, 1.41):
        for shift in np.linspace(-4, 4, 21):
            values = rng.standard_normal(size) + shift
            one = estimates.estimate(shift, values, NONE, NONE, images, widen=widen)
            assert (one.p < 0.05) == (one.interval[0] > 0 or one.interval[1] < 0)
            assert one.p >= estimates.floor(size, images, widen)


def test_widening_is_what_resampling_lacks_of_the_variance() -> None:
    """A mean of class means of 2 to 30 images; resampling images class by class, the law is known."""
    rng = np.random.default_rng(3)
    images = np.array([2, 3, 5, 30])
    true, found, widened = (images**-1.0).sum(), [], []
    for _ in range(400):
        values = [rng.standard_normal(n) for n in images]
        means = np.stack([one[rng.integers(len(one), size=(200, len(one)))].mean(axis=1) for one in values])
        found.append(means.var(axis=1).sum())
        widened.append(found[-1] * estimates.widening(means, images) ** 2)
    assert np.mean(found) < 0.75 * true
    assert np.mean(widened) == pytest.approx(true, rel=0.1)
    one_and_five = np.array([[3.0, 3.0, np.nan], [1.0, 2.0, 3.0]])
    assert estimates.widening(one_and_five, np.array([1, 5])) == pytest.approx(np.sqrt(1.25))
    assert estimates.widening(np.full((3, 9), np.nan), np.array([0, 1, 9])) == 1.0
    assert estimates.widening(one_and_five, np.array([10**6, 10**6])) == pytest.approx(1.0, abs=1e-6)


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
