"""The order of images: endless shuffled epochs, split over ranks, grouped by orientation."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from wsl_det.detector import sampler


def take(stream, count):
    return list(islice(stream, count))


def test_every_epoch_holds_every_image_once_in_another_order():
    draws = take(sampler.training_stream(7, seed=3), 21)
    assert [p for p, _ in draws] == list(range(21))
    epochs = [[i for _, i in draws[k : k + 7]] for k in (0, 7, 14)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 3
    assert draws == take(sampler.training_stream(7, seed=3), 21)
    assert draws != take(sampler.training_stream(7, seed=4), 21)


def test_ranks_share_one_stream():
    whole = take(sampler.training_stream(10, seed=0), 30)
    parts = [take(sampler.of_rank(sampler.training_stream(10, seed=0), r, 3), 10) for r in range(3)]
    assert sorted(draw for part in parts for draw in part) == whole


def test_batches_hold_images_that_lie_the_same_way():
    landscape = [i % 3 == 0 for i in range(9)]
    batches = take(sampler.grouped_batches(sampler.training_stream(9, 1), landscape, 4), 12)
    assert all(len({landscape[i] for _, i in b}) == 1 and len(b) == 4 for b in batches)
    positions = sorted(p for b in batches for p, _ in b)
    assert len(set(positions)) == 48


def test_plain_batches_keep_the_order():
    batches = take(sampler.plain_batches(sampler.training_stream(5, 1), 2), 4)
    assert [p for b in batches for p, _ in b] == list(range(8))


def test_repeat_factors_by_hand():
    # Class 0 is in all four images, class 1 in one: f = 1 and 1/4; the threshold is 1.
    found = sampler.repeat_factors([[0], [0, 0], [0, 1], [0]], 1.0)
    assert found.tolist() == [1, 1, 2, 1]
    assert sampler.repeat_factors([[0], [1], [1], []], 0.5, square_root=False).tolist() == [2, 1, 1, 1]


def test_repeats_are_rounded_at_random_and_right_on_average():
    factors = torch.tensor([1.0, 2.5, 1.0])
    draws = take(sampler.training_stream(3, 0, factors), 4500)
    counts = torch.bincount(torch.tensor([i for _, i in draws]), minlength=3) / 1000
    assert counts[1].item() == pytest.approx(2.5, abs=0.1)
    assert counts[0].item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("size", "world"), [(10, 3), (2, 4), (9, 3), (1, 1)])
def test_evaluation_sees_every_image_once_in_order(size, world):
    shards = [sampler.evaluation_shard(size, r, world) for r in range(world)]
    assert [i for s in shards for i in s] == list(range(size))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_images_of_rare_classes_are_drawn_oftener():
    """Class k is on images // 2**k of 256 images; the rarest class' image stands sqrt(.25 * 256) times."""
    classes = [[k for k in range(9) if i % 2**k == 0] for i in range(256)]
    factors = sampler.repeat_factors(classes, 0.25)
    assert factors.max().item() == factors[0].item() == 8.0
    draws = take(sampler.training_stream(256, 0, factors), 20 * int(factors.sum()))
    counts = torch.bincount(torch.tensor([i for _, i in draws]), minlength=256).double()
    rarest = torch.tensor([max(c) for c in classes])
    by_rarity = [counts[rarest == k].mean().item() for k in range(9)]
    assert by_rarity == pytest.approx([20 * max(1.0, 2 ** (k / 2 - 1)) for k in range(9)], rel=0.06)
