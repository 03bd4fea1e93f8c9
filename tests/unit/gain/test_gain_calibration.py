"""Coverage of the intervals, in small; benchmarks/bench_calibration.py has the full table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bench_calibration


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 3])
def test_intervals_cover_the_gain_of_the_population(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    monkeypatch.setattr(bench_calibration, "WORLDS", 1)
    bench_calibration.truth.cache_clear()
    sets = [bench_calibration.one_set(120, seed, attribution=False, runs=runs) for seed in range(60)]
    for name in ("AP", "AP50", "recognition", "localization"):
        # Of 60 sets a true 95% leaves fewer than 85% covered once in a thousand.
        assert np.mean(bench_calibration.held(sets, name)) >= 0.85, name
    bench_calibration.truth.cache_clear()


@pytest.mark.slow
def test_equal_ap_is_rejected_as_often_as_it_should() -> None:
    sets = [bench_calibration.one_set(100, seed, attribution=False) for seed in range(150)]
    for name in ("type I", "power"):
        found = np.array([one[name][metric] for one in sets for metric in ("AP", "AP50", "AP75")])
        # By one rule: what p rejects, the interval leaves out.
        np.testing.assert_array_equal(found[:, 0] < 0.05, (found[:, 1] > 0) | (found[:, 2] < 0))
    assert np.mean([one["type I"]["AP"][0] < 0.05 for one in sets]) <= 0.11
    # 5 of 20 classes differ: the rate is held at 5% of those starred, and stars are given.
    stars = np.array([one["stars"] for one in sets])
    assert np.mean(stars[:, 1] / np.maximum(stars.sum(axis=1), 1)) <= 0.08
    assert stars[:, 0].mean() > 2
