"""Streaming exact search against a sort of everything, and descriptors' regions by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.duplicates import calibration, neighbours, rmac
from pretrain.duplicates.calibration import Planted
from pretrain.duplicates.neighbours import Neighbours
from wsl_det.errors import ConfigError


def unit(rng: np.random.Generator, number: int, dim: int = 8) -> np.ndarray:
    vectors = rng.normal(size=(number, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_the_stream_keeps_what_sorting_everything_would(pieces: int) -> None:
    rng = np.random.default_rng(0)
    views, train = [unit(rng, 7), unit(rng, 7)], unit(rng, 50)
    train[20] = train[10]  # equal scores: the lower row comes first
    found = Neighbours(views, 5)
    for rows in np.array_split(np.arange(50), pieces):
        found.add(train[rows], rows)
    scores = np.maximum(views[0] @ train.T, views[1] @ train.T)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, order, 1), atol=1e-6)


def test_fewer_images_than_neighbours() -> None:
    rng = np.random.default_rng(1)
    found = Neighbours([unit(rng, 2)], 5)
    found.add(unit(rng, 3), np.arange(3))
    assert (found.rows[:, 3:] == -1).all() and np.isneginf(found.scores[:, 3:]).all()
    assert sorted(found.rows[0, :3]) == [0, 1, 2]


def test_training_images_among_themselves_meet_once() -> None:
    rng = np.random.default_rng(2)
    vectors, rows = unit(rng, 30), np.arange(30) * 2
    vectors[12] = vectors[4]
    found = neighbours.among_themselves([vectors], rows, 3, "exact")
    assert found.rows[4, 0] == 24 and found.scores[4, 0] == pytest.approx(1)
    pairs = [(int(a), int(b)) for a, row in zip(rows, found.rows, strict=True) for b in row if b >= 0]
    assert all(a < b for a, b in pairs) and len(set(pairs)) == len(pairs)


def test_faiss_finds_the_same_pairs_or_is_asked_for_by_name() -> None:
    rng = np.random.default_rng(3)
    vectors, rows = unit(rng, 60), np.arange(60)
    vectors[50] = vectors[7]
    try:
        import faiss  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install faiss-cpu"):
            neighbours.among_themselves([vectors], rows, 3, "faiss")
        return
    # One cell, so nothing is missed but images whose nearest neighbours all came earlier.
    quick = neighbours.among_themselves([vectors, vectors], rows, 3, "faiss")
    exact = neighbours.among_themselves([vectors, vectors], rows, 3, "exact")
    found = quick.rows[:, 0] >= 0
    assert found.mean() > 0.5
    np.testing.assert_array_equal(quick.rows[found, 0], exact.rows[found, 0])
    np.testing.assert_allclose(quick.scores[found, 0], exact.scores[found, 0], atol=1e-6)
    assert quick.rows[7, 0] == 50


def test_regions_cover_the_map_and_pooling_is_a_maximum() -> None:
    # Side 6, three scales: the whole, four squares of 4, nine of 3.
    found = rmac.regions(6, 3)
    assert found[0] == (0, 0, 6)
    assert [r for r in found if r[2] == 4] == [(0, 0, 4), (0, 2, 4), (2, 0, 4), (2, 2, 4)]
    assert len([r for r in found if r[2] == 3]) == 9
    features = torch.zeros(1, 2, 6, 6)
    features[0, 0, 0, 0] = 5.0
    features[0, 1, 5, 5] = 3.0
    # The whole sees both (5, 3) / sqrt(34); each corner region only its own channel.
    total = torch.tensor([5.0, 3.0]) / 34**0.5 + torch.tensor([2.0, 2.0])
    torch.testing.assert_close(rmac.pool(features, 3)[0], total / total.norm())


def test_the_threshold_is_the_highest_that_reaches_the_recall() -> None:
    scores = {"a": np.array([0.9, 0.8, 0.7], np.float32), "b": np.array([0.95, 0.6, 0.5], np.float32)}
    none = {kind: np.full(3, -1, np.float32) for kind in scores}
    # At 0.6: a 3/3, b 2/3, mean 5/6.
    assert calibration.choose(Planted(scores, none), 0.8) == pytest.approx(0.6)
    assert calibration.choose(Planted(scores, none), 1.0) == pytest.approx(0.5)
    crowded = {"a": none["a"], "b": np.full(3, 0.55, np.float32)}
    planted = Planted(scores, crowded)
    assert planted.recall(0.0) == {"a": 1.0, "b": pytest.approx(2 / 3)}
    threshold = calibration.choose(planted, 0.99)
    record = calibration.record(
        planted, np.zeros(0, np.float32), threshold=threshold, target=0.99, given=False
    )
    assert "crowded out" in record["notes"][0]


def test_separation_is_the_share_of_pairs_in_order() -> None:
    copies, mates = np.array([0.9, 0.5], np.float32), np.array([0.5, 0.1], np.float32)
    assert calibration.separation(copies, mates) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert calibration.separation(copies, mates[:0]) is None
