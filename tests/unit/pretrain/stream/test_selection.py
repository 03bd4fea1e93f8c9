"""Subsets that nest, and posts that stay on their side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pretrain.stream import chance, selection
from pretrain.stream.selection import Selection
from wsl_det.errors import ConfigError

HASHES = chance.splitmix64(11, np.arange(100_000, dtype=np.uint64))
FRACTIONS = (0.01, 0.03, 0.1, 0.3, 1.0)


def test_each_subset_lies_inside_the_next() -> None:
    subsets = [selection.in_subset(HASHES, fraction, 3) for fraction in FRACTIONS]
    for small, large in pairwise(subsets):
        assert not (small & ~large).any() and small.sum() < large.sum()
    for subset, fraction in zip(subsets, FRACTIONS, strict=True):
        deviation = np.sqrt(len(HASHES) * fraction * (1 - fraction))
        assert abs(subset.sum() - fraction * len(HASHES)) <= 5 * deviation


def test_a_subset_is_reproducible_and_another_for_another_seed() -> None:
    one, again, other = (selection.in_subset(HASHES, 0.1, seed) for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    # Two independent tenths share a hundredth; its standard deviation is 31.
    assert abs((one & other).sum() - 1000) < 5 * 31
    # A post's side does not depend on the posts around it.
    assert np.array_equal(selection.in_subset(HASHES[500:700][::-1], 0.1, 3), one[500:700][::-1])


def test_subset_and_exclusion_move_no_post_across_the_held_out_border() -> None:
    heldout = selection.held_out(HASHES, 0.1)
    plain = Selection(heldout=0.1).training(HASHES)
    assert np.array_equal(plain, ~heldout)
    for fraction in FRACTIONS:
        studied = Selection(heldout=0.1, subset=fraction, seed=3, excluded=HASHES[:50])
        training = studied.training(HASHES)
        assert not (training & heldout).any() and not training[:50].any()
        # The ranks have nothing to do with being held out: the subset is a tenth of what is left, too.
        left = ~heldout.copy()
        left[:50] = False
        deviation = np.sqrt(left.sum() * fraction * (1 - fraction))
        assert abs(training.sum() - fraction * left.sum()) <= 5 * deviation
    labelled = np.arange(len(HASHES) + 1)
    assert np.array_equal(selection.held_out_images(HASHES, labelled, 0.1), np.flatnonzero(heldout))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_fractions_outside_the_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"DATA\.SUBSET is .*; expected a fraction in \(0, 1\]"):
        selection.in_subset(HASHES, fraction, 0)
