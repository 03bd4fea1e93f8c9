"""Detectors that differ in one known fault: the report must name it (docs/method.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det.evaluation import matching, metrics
from wsl_det.gain import attribution, factors, mends, side
from wsl_det.gain.pairs import ImagePairs

REGIMES = {
    "tight": Detector(),
    "tight, score follows IoU": Detector(follows_iou=4.0),
    "loose": Detector(box_noise=0.12),
}
CAUSES: dict[str, dict[str, float]] = {
    "classification": {"class_error": 0.08},
    "localization": {"box_noise": 0.85},  # times that of the regime
    "missed": {"missed": 0.12},
    "background": {"background": 1.5},
    "duplicate": {"duplicates": 0.05},
}


def better(base: Detector, *causes: str) -> Detector:
    change: dict[str, float] = {}
    for cause in causes:
        change |= CAUSES[cause]
    if "box_noise" in change:
        change["box_noise"] *= base.box_noise
    return replace(base, **change)


class Bench:
    """One world and the base detector of a regime in it."""

    def __init__(self, base: Detector) -> None:
        self.scene = simulation.world(images=500, classes=10, seed=1)
        self.base = base
        self.measured, self.pairs = self.measure(base)

    def measure(self, detector: Detector) -> tuple[metrics.Measures, ImagePairs]:
        shapes = matching.object_shapes(self.scene.truth, "bbox")
        built = side.build([simulation.detect(self.scene, detector)], self.scene.truth, shapes, "bbox")
        return metrics.measure(built.tables[0]), built.pairs[0]

    def compare(self, detector: Detector) -> tuple[float, dict[str, float], dict[str, Any]]:
        measured, pairs = self.measure(detector)
        ones = np.ones((len(self.scene.truth.image_ids), 1), dtype=np.uint8)
        overlap = mends.foreground([self.pairs, pairs])
        values = [mends.values(one, ones, overlap) for one in (self.pairs, pairs)]
        gain = float(values[1][0, 0] - values[0][0, 0])
        shares = attribution.shares(*values)[:, 0].tolist()
        one, two = self.measured, measured
        split = {
            tau: factors.two_factors(one.metrics["AP"], one.by_iou[i], two.metrics["AP"], two.by_iou[i])
            for tau, i in (("0.1", 0), ("0.5", 2))
        }
        return gain, dict(zip(mends.KINDS, shares, strict=True)), split


@pytest.fixture(scope="module", params=REGIMES)
def bench(request: pytest.FixtureRequest) -> Bench:
    made = Bench(REGIMES[request.param])
    assert made.measured.metrics["AP"][0] >= 10
    return made


def test_each_planted_cause_is_the_largest_share_and_near_the_gain(bench: Bench) -> None:
    for cause in CAUSES:
        gain, shares, split = bench.compare(better(bench.base, cause))
        assert max(shares, key=lambda kind: shares[kind]) == cause
        assert abs(shares[cause] - gain) <= max(0.3, 0.2 * gain), (cause, gain, shares)
        recognition, localization = (float(part[0]) for part in split["0.1"])
        part = localization if cause == "localization" else recognition
        assert abs(part - gain) <= max(0.3, 0.2 * gain), (cause, split)


@pytest.mark.parametrize("pair", [("classification", "localization"), ("missed", "background")])
def test_mixtures_fall_into_what_was_mixed(bench: Bench, pair: tuple[str, str]) -> None:
    gain, shares, _ = bench.compare(better(bench.base, *pair))
    assert set(sorted(shares, key=lambda kind: -shares[kind])[:2]) == set(pair)
    for cause in pair:
        alone, _, _ = bench.compare(better(bench.base, cause))
        assert abs(shares[cause] - alone) <= max(0.3, 0.2 * gain), (cause, alone, shares)


def test_ranking_reads_as_recognition(bench: Bench) -> None:
    gain, _, split = bench.compare(replace(bench.base, ranking=bench.base.ranking + 0.8))
    assert gain > 0.5
    assert abs(float(split["0.1"][0][0]) - gain) <= max(0.3, 0.2 * gain)


def test_half_is_a_worse_anchor_than_a_tenth_for_loose_boxes() -> None:
    bench = Bench(REGIMES["loose"])
    gain, _, split = bench.compare(better(bench.base, "localization"))
    assert float(split["0.1"][0][0]) < 0.05 * gain
    assert float(split["0.5"][0][0]) > 0.2 * gain


def test_on_very_loose_boxes_the_top_cause_and_its_sign_are_right() -> None:
    bench = Bench(Detector(box_noise=0.2))
    for cause in CAUSES:
        gain, shares, _ = bench.compare(better(bench.base, cause))
        assert gain > 0
        assert max(shares, key=lambda kind: shares[kind]) == cause
        assert shares[cause] > 0
