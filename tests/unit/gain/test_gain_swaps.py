"""The sign-swap p of classes: early stopping must not make it smaller than it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsl_det.evaluation import matching
from wsl_det.gain import measures, resamples, simulation, swaps
from wsl_det.gain.simulation import Detector
from wsl_det.predictions import Predictions


def end_of(hit: np.ndarray, settled: int) -> float:
    """p when the swaps in order were as extreme as the gain where ``hit`` (CLASS_SWAPS,) says so."""
    if not hit[:settled].any():
        return swaps.exact_p(0, settled, settled)
    places = np.flatnonzero(hit)
    if len(places) >= swaps.ENOUGH:
        return swaps.exact_p(swaps.ENOUGH - 1, int(places[swaps.ENOUGH - 1]), settled)
    return swaps.exact_p(len(places), len(hit), settled)


@pytest.mark.parametrize("settled", [160, 1600])
def test_p_is_as_often_below_a_level_as_the_level_says(settled: int) -> None:
    rng = np.random.default_rng(3)
    # Alike sides: the gain has any rank among the swaps with equal chance. The small ranks are sampled
    # densely, a tenth of all chances holds every p below 0.05.
    tenth = np.array(
        [end_of(rng.random(swaps.CLASS_SWAPS) < 0.1 * rng.random(), settled) for _ in range(4000)]
    )
    for level in (0.0015, 0.008, 0.03):
        share = 0.1 * np.mean(tenth <= level)
        assert share <= level + 4 * np.sqrt(0.1 * level / 4000)
        if level > 1 / (settled + 1):  # no p is smaller than that
            assert share >= 0.6 * level - 4 * np.sqrt(0.1 * level / 4000)


def test_ends_are_ordered_and_plain_where_nothing_stopped_early() -> None:
    assert swaps.exact_p(99, 99, 1000) == 1.0
    assert swaps.exact_p(0, 1600, 1600) == 1 / 1601
    assert swaps.exact_p(0, 1600, 1600) < 0.05 / 80
    later = [swaps.exact_p(hits, swaps.CLASS_SWAPS, 1600) for hits in range(1, 99)]
    assert later == sorted(later)
    assert later[0] > 1 / 1601
    # Whether none of 50 hits was among the first 1600 of 20,000 hardly matters any more.
    assert later[49] == pytest.approx(51 / 20_001, rel=0.05)


def test_swaps_of_the_plain_lists_give_the_same_p() -> None:
    """Against lists that are really swapped, image by image, and matched again."""
    scene = simulation.world(images=12, classes=3, seed=6)
    sides = [simulation.detect(scene, d) for d in (Detector(), Detector(missed=0.1, background=2.0))]
    tables = [matching.match(found, scene.truth, "bbox") for found in sides]
    plain = [measures.columns(table)[:, 0] for table in tables]
    observed = plain[1] - plain[0]
    layout = measures.Layout(tables[0])
    p = swaps.p_values(*tables, observed, layout.classes, seed=3)
    assert np.isnan(p[[layout.anchors["0.1"], layout.anchors["0.3"]]]).all()
    flips = resamples.coins(12, swaps.SWAPS, 3)
    some = 40
    both = resamples.merged(*tables)
    fast = measures.swapped(both, flips[:, :some])
    for b in range(some):
        lists = []
        for first, second in (sides, sides[::-1]):
            mixed = [
                one.image_ids[..., None] == scene.truth.image_ids[flips[:, b] == want]
                for one, want in ((first, 0), (second, 1))
            ]
            keep = [rows.any(axis=1) for rows in mixed]
            lists.append(_joined((first, keep[0]), (second, keep[1])))
        slow = [measures.columns(matching.match(one, scene.truth, "bbox"))[:, 0] for one in lists]
        rows = [
            i for i in range(layout.size) if i not in layout.anchors.values() or i == layout.anchors["0.5"]
        ]
        for ours, theirs in zip(fast, slow, strict=True):
            np.testing.assert_allclose(ours[rows, b], theirs[rows], rtol=0, atol=1e-9)
    everything = measures.swapped(both, flips)
    extreme = (np.abs(everything[1] - everything[0]) >= np.abs(observed)[:, None] - 1e-9).sum(axis=1)
    ap = layout.metrics["AP"]
    assert p[ap] == pytest.approx((1 + extreme[ap]) / (1 + swaps.SWAPS), abs=1e-12)


def _joined(*parts: tuple[Predictions, np.ndarray]) -> Predictions:
    columns = {
        name: np.concatenate([getattr(found, name)[keep] for found, keep in parts])
        for name in ("image_ids", "category_ids", "scores", "boxes_xywh")
    }
    return replace(parts[0][0], **columns)
