"""The sign-swap p of classes: early stopping must not make it smaller than it is."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_det.gain import swaps


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
