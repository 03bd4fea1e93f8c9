"""The sample stream: exact frequencies, addressable anywhere, the same for any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.stream import chance, sampling, selection
from wsl_det.errors import ConfigError, DataError


def make_stream(num_images: int = 60, **options: object) -> sampling.SampleStream:
    """Images with one or two tags, tag t on roughly every (t + 1)-th; shards of 7 images."""
    rows = [sorted({0 if i % 2 else 1, i % 5}) for i in range(num_images)]
    rows[3] = []
    settings: dict = {
        "label_offsets": np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
        "label_values": np.array([t for r in rows for t in r], np.int32),
        "post_hash": chance.splitmix64(5, np.arange(num_images, dtype=np.uint64)),
        "shard_starts": np.array([*range(0, num_images, 7), num_images]),
        "num_tags": 6,
        "seed": 1,
        "window": 2,
    }
    return sampling.SampleStream(**{**settings, **options})


def test_splitmix64_gives_the_published_outputs() -> None:
    # The generator's reference output for seed 1234567 (Vigna's splitmix64.c; also on Rosetta Code).
    want = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert chance.splitmix64(1234567, np.arange(3, dtype=np.uint64)).tolist() == want


def test_uniforms_are_uniform_and_addressable() -> None:
    numbers = chance.uniforms(3, np.arange(100_000, dtype=np.uint64))
    assert numbers.min() >= 0 and numbers.max() < 1
    # 20 bins of 5,000: a standard deviation is 69, and 5 of them are far beyond chance.
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 5000).max() < 5 * 69
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015
    assert chance.uniforms(3, np.array([77], np.uint64)) == numbers[77]


def test_shuffled_is_a_permutation_that_any_library_version_must_repeat() -> None:
    def splitmix64(seed: int, number: int) -> int:  # in Python's own integers
        z = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    want = sorted(range(50), key=lambda i: splitmix64(2**62 + 1, i))
    assert chance.shuffled(2**62 + 1, 50).tolist() == want
    assert sorted(chance.shuffled(2, 1000)) == list(range(1000))
    assert not np.array_equal(chance.shuffled(2, 1000), chance.shuffled(3, 1000))


@pytest.mark.parametrize(
    ("policy", "want"),
    [("natural", [1, 1, 1, 1]), ("sqrt", [1, 1, 2, 1]), ("uniform", [1, 1, 4, 1])],
)
def test_tag_factors(policy: str, want: list[float]) -> None:
    # Frequencies 0.4 and 0.2 stay at 1; 0.05 is a quarter of the threshold; the last never occurs.
    found = sampling.tag_factors(np.array([0.4, 0.2, 0.05, 0.0]), policy=policy, threshold=0.2)
    np.testing.assert_allclose(found, want)


def test_threshold_zero_is_the_median_of_tags_that_occur() -> None:
    found = sampling.tag_factors(np.array([0.4, 0.2, 0.05, 0.0]), policy="uniform", threshold=0.0)
    np.testing.assert_allclose(found, [1, 1, 4, 1])


def test_unknown_policy_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="natural, sqrt, uniform"):
        sampling.tag_factors(np.ones(2), policy="cube", threshold=0.1)


def test_image_factor_is_the_largest_of_its_tags() -> None:
    offsets = np.array([10, 12, 12, 13, 15])  # images of 2, 0, 1 and 2 tags, from entry 10 on
    values = np.concatenate([np.zeros(10, np.int32), np.array([0, 2, 1, 1, 0], np.int32)])
    found = sampling.image_factors(offsets, values, np.array([1.0, 1.5, 3.0]))
    assert found.tolist() == [3.0, 0.0, 1.5, 1.5]


def test_rounding_keeps_the_expected_number_of_draws() -> None:
    images = np.arange(200_000)
    counts = sampling.round_at_random(np.full(200_000, 2.3), 9, images)
    assert set(counts) == {2, 3}
    # Standard deviation of the mean is sqrt(.3 * .7 / 200,000) = 0.001.
    assert abs(counts.mean() - 2.3) < 0.005
    assert sampling.round_at_random(np.array([2.3]), 9, np.array([77]))[0] == counts[77]


def test_natural_epoch_draws_every_training_image_once() -> None:
    stream = make_stream(selection=selection.Selection(heldout=0.2))
    heldout = selection.held_out(chance.splitmix64(5, np.arange(60, dtype=np.uint64)), 0.2)
    allowed = set(range(60)) - set(np.flatnonzero(heldout)) - {3}
    assert 0 < heldout.sum() < 30
    assert stream.num_images == len(allowed) == stream.epoch(0).draws
    for epoch in range(3):
        draws = stream.take(epoch * len(allowed), len(allowed))
        assert Counter(draws.tolist()) == Counter(dict.fromkeys(allowed, 1))
    assert stream.take(0, 20).tolist() != stream.take(len(allowed), 20).tolist()


def test_resampled_epochs_draw_each_image_as_often_as_its_factor_says() -> None:
    stream = make_stream(policy="uniform", threshold=0.5)
    factors = stream.factors(0, 60)
    assert factors[3] == 0 and factors.max() > 2
    ends, seen = 0, np.zeros(60)
    for epoch in range(200):
        plan = stream.epoch(epoch)
        counts = np.bincount(stream.take(ends, plan.draws), minlength=60)
        assert np.all((counts == np.floor(factors)) | (counts == np.ceil(factors)))
        ends, seen = ends + plan.draws, seen + counts
    # Rounding is a coin of standard deviation at most 1/2: over 200 epochs 0.035, times 4.
    assert np.abs(seen / 200 - factors).max() < 0.15


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 500), sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_any_cut_of_the_stream_is_the_same_stream(start: int, sizes: list[int]) -> None:
    whole = make_stream(policy="sqrt").take(0, 1000)
    stream = make_stream(policy="sqrt")
    for size in sizes:
        np.testing.assert_array_equal(stream.take(start, size), whole[start : start + size])
        start += size


def test_draws_stay_near_a_few_shards() -> None:
    stream = make_stream(num_images=700, window=3)
    plan = stream.epoch(0)
    draws = stream.take(0, plan.draws)
    for first, last in zip(plan.window_starts[:-1], plan.window_starts[1:], strict=True):
        assert len(set(draws[first:last] // 7)) <= 3
    # Within the window it is a shuffle, not a walk through the tar.
    assert not np.all(np.diff(draws[: plan.window_starts[1]]) > 0)


def test_seed_and_epoch_change_the_order() -> None:
    orders = {tuple(make_stream(seed=s).take(59 * e, 20)) for s in (1, 2) for e in (0, 1)}
    assert len(orders) == 4


def test_epoch_at_counts_draws() -> None:
    stream = make_stream()
    assert stream.epoch_at(58) == (0, 58)
    assert stream.epoch_at(59) == (1, 0)


def test_nothing_left_to_train_on_is_said() -> None:
    with pytest.raises(DataError, match="no image is left"):
        make_stream(label_values=np.empty(0, np.int32), label_offsets=np.zeros(61, np.int64))


def test_held_out_posts_do_not_move_when_others_arrive() -> None:
    hashes = chance.splitmix64(1, np.arange(10_000, dtype=np.uint64))
    some = selection.held_out(hashes[:5000], 0.02)
    assert np.array_equal(some, selection.held_out(hashes, 0.02)[:5000])
    # Expected 200 of 10,000, standard deviation 14.
    assert 140 < selection.held_out(hashes, 0.02).sum() < 260
    offsets = np.arange(10_001)
    offsets[6:] -= 1  # image 5 has no tag
    images = selection.held_out_images(hashes, offsets, 0.02)
    assert set(images) == set(np.flatnonzero(selection.held_out(hashes, 0.02))) - {5}


def test_fractions_outside_the_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"DATA\.HELDOUT is 1"):
        selection.held_out(np.zeros(1, np.uint64), 1.0)


def test_world_sizes() -> None:
    assert sampling.check_world_size(8064, 24, 336) == 1
    assert sampling.check_world_size(8064, 24, 168) == 2
    with pytest.raises(ConfigError, match="legal numbers of processes: 4, 6"):
        sampling.check_world_size(288, 24, 5)
    with pytest.raises(ConfigError, match=r"legal numbers of processes: 12$"):
        sampling.check_world_size(288, 24, 50)
    with pytest.raises(ConfigError, match="nearest legal batches: 96, 120"):
        sampling.check_world_size(100, 24, 1)
    with pytest.raises(ConfigError, match="nearest legal batches: 24"):
        sampling.check_world_size(10, 24, 1)


def test_the_stream_shows_only_what_is_selected() -> None:
    hashes = chance.splitmix64(5, np.arange(60, dtype=np.uint64))
    chosen = selection.Selection(heldout=0.2, subset=0.5, seed=4, excluded=hashes[10:14])
    stream = make_stream(selection=chosen)
    allowed = set(np.flatnonzero(chosen.training(hashes))) - {3}
    assert 10 < len(allowed) < 40 and not allowed & {10, 11, 12, 13}
    assert Counter(stream.take(0, len(allowed)).tolist()) == Counter(dict.fromkeys(allowed, 1))
    assert stream.num_images == len(allowed)
