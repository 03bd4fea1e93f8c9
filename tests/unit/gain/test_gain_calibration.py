"""Coverage of the intervals, in small; benchmarks/bench_calibration.py has the full table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bench_calibration


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 3])
def test_intervals_cover_the_gain_of_the_population(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    monkeypatch.setattr(bench_calibration, "WHOLE", 5000)
    bench_calibration.truth.cache_clear()
    sets = [bench_calibration.one_set(120, seed, attribution=False, runs=runs) for seed in range(60)]
    for name in ("AP", "AP50", "recognition", "localization"):
        # Of 60 sets a true 95% leaves fewer than 85% covered once in a thousand.
        assert np.mean([one["covered"][name] for one in sets]) >= 0.85, name
    bench_calibration.truth.cache_clear()


@pytest.mark.slow
def test_equal_ap_is_rejected_as_often_as_it_should() -> None:
    rejected = [
        bench_calibration.one_set(100, seed, attribution=False)["type I"]["AP"] for seed in range(150)
    ]
    assert np.mean(rejected) <= 0.11
