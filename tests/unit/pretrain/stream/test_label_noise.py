"""Planned label noise: how many tags it replaces, by what, and what it leaves alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pretrain.stream import chance, sampling, selection
from pretrain.stream.label_noise import LabelNoise
from wsl_det.errors import ConfigError

COUNTS = np.array([50, 30, 15, 5, 0])
POSTS = 40_000


def posts(number: int = POSTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, offsets and tags: one tag by ``COUNTS``, every third post a second one."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(number):
        tags = rng.choice(5, 1 + (i % 3 == 0), replace=False, p=COUNTS / COUNTS.sum())
        rows.append(sorted(tags.tolist()))
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    hashes = chance.splitmix64(7, np.arange(number, dtype=np.uint64))
    return hashes, offsets, np.array([t for r in rows for t in r], np.int32)


def test_the_planned_fraction_is_replaced_by_what_the_tags_distribution_says() -> None:
    hashes, offsets, values = posts()
    noisy = LabelNoise(0.25, COUNTS, seed=1).apply(hashes, offsets, values)
    replaced = noisy != values
    deviation = np.sqrt(0.25 * 0.75 / len(values))
    assert abs(replaced.mean() - 0.25) < 5 * deviation  # a replacement is always another tag
    single = replaced & np.repeat(np.diff(offsets) == 1, np.diff(offsets))
    for tag in range(4):
        drawn = np.bincount(noisy[single & (values == tag)], minlength=5)
        want = np.where(np.arange(5) == tag, 0, COUNTS) / (COUNTS.sum() - COUNTS[tag])
        spread = np.sqrt(drawn.sum() * want * (1 - want))
        assert np.all(np.abs(drawn - drawn.sum() * want) <= 5 * spread + 1e-9), tag


def test_posts_keep_their_number_of_tags_each_once() -> None:
    hashes, offsets, values = posts(6000)
    noisy = LabelNoise(1.0, np.array([3, 3, 2, 2, 0]), seed=1).apply(hashes, offsets, values)
    for first, last in pairwise(offsets):
        assert len(set(noisy[first:last])) == last - first
        assert not set(noisy[first:last]) & set(values[first:last])
    assert 4 not in noisy  # a tag that nobody posted is never drawn


def test_a_post_with_every_tag_keeps_them() -> None:
    noisy = LabelNoise(1.0, COUNTS, 1).apply(
        np.array([9], np.uint64), np.array([0, 4]), np.arange(4, dtype=np.int32)
    )
    assert noisy.tolist() == [0, 1, 2, 3]


def test_noise_is_a_function_of_post_and_seed_alone() -> None:
    hashes, offsets, values = posts(3000)
    noise = LabelNoise(0.5, COUNTS, seed=1)
    whole = noise.apply(hashes, offsets, values)
    assert np.array_equal(whole, noise.apply(hashes, offsets, values))
    assert not np.array_equal(whole, LabelNoise(0.5, COUNTS, seed=2).apply(hashes, offsets, values))
    first, last = 1000, 1400  # in another chunk, beside other posts
    part = noise.apply(
        hashes[first:last],
        offsets[first : last + 1] - offsets[first],
        values[offsets[first] : offsets[last]],
    )
    assert np.array_equal(part, whole[offsets[first] : offsets[last]])
    single = np.repeat(np.diff(offsets) == 1, np.diff(offsets))
    more = LabelNoise(0.6, COUNTS, seed=1).apply(hashes, offsets, values)
    # Of a post's only tag: what noise of 0.5 replaces, noise of 0.6 replaces too, by the same.
    changed = single & (whole != values)
    assert changed.any() and np.array_equal(more[changed], whole[changed])


def stream(**options: object) -> sampling.SampleStream:
    hashes, offsets, values = posts(3000)
    settings: dict = {"shard_starts": np.array([0, 1300, 3000]), "num_tags": 5, "seed": 1, **options}
    return sampling.SampleStream(label_offsets=offsets, label_values=values, post_hash=hashes, **settings)


def test_training_sees_the_noise_and_the_held_out_posts_do_not_move() -> None:
    chosen = selection.Selection(heldout=0.2)
    plain, noisy = (stream(selection=chosen, label_noise=noise) for noise in (0.0, 0.3))
    hashes, offsets, values = posts(3000)
    images = noisy.take(0, 500)
    # Natural sampling: which images are drawn does not depend on tags.
    assert np.array_equal(images, plain.take(0, 500))
    training = ~selection.held_out(hashes, 0.2)
    counts = np.bincount(values[np.repeat(training, np.diff(offsets))], minlength=5)
    assert np.array_equal(plain.tag_counts, counts) and plain.num_replaced == 0
    assert noisy.tag_counts.sum() == counts.sum() and not np.array_equal(noisy.tag_counts, counts)
    assert abs(noisy.num_replaced / counts.sum() - 0.3) < 0.05
    _, starts, tags = noisy.labelled(0, 3000)
    for image, row in zip(images, noisy.tags(images), strict=True):
        assert row.tolist() == tags[starts[image] : starts[image + 1]].tolist()
    assert [row.tolist() for row in plain.tags(images[:3])] == [
        values[offsets[i] : offsets[i + 1]].tolist() for i in images[:3]
    ]
    assert noisy.tags(images[:0]) == []


def test_resampling_follows_the_noisy_tags() -> None:
    noisy = stream(label_noise=0.5, policy="uniform")
    factors = sampling.tag_factors(noisy.tag_counts / 3000, policy="uniform", threshold=0)
    _, starts, tags = noisy.labelled(0, 3000)
    np.testing.assert_allclose(noisy.factors(0, 3000), sampling.image_factors(starts, tags, factors))


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_fractions_of_tags_outside_the_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"DATA\.LABEL_NOISE is"):
        stream(label_noise=fraction)
