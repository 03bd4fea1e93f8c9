"""Coverage of the intervals, in small; benchmarks/bench_gain.py --calibrate 400 has the full table."""

from __future__ import annotations

import pytest

from benchmarks import bench_gain


@pytest.mark.slow
def test_intervals_cover_the_gain_of_the_population() -> None:
    rows = bench_gain.calibrate(60, 120, (1, 3), bootstrap=200, whole=6000)
    assert len(rows) == len(bench_gain.CASES) * 2 * 4
    for row in rows:
        # Of 60 sets a true 95% leaves fewer than 85% covered once in a thousand.
        assert row["coverage"] >= 85, row
        assert row["width"] > 0
    planted = {row["case"]: row["truth"] for row in rows if (row["runs"], row["number"]) == (1, "AP")}
    assert planted["zero gain"] == 0
    assert planted["class errors .15 -> .10"] > 2
