"""Whatever labels are trained on, the photos are the same ones in the same order."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.shards.index import Labels
from pretrain.stream import sampling
from pretrain.stream.selection import Selection

IMAGES, TAGS = 400, 12


def labels(seed: int, most: int, least: int = 1) -> Labels:
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(TAGS, rng.integers(least, most + 1), replace=False)) for _ in range(IMAGES)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return offsets, np.concatenate(rows).astype(np.int32)


HASHTAGS, SYNSETS = labels(1, 3), labels(2, 1, 0)  # some true classes are not known
HASHES = np.random.default_rng(3).integers(0, 2**64, IMAGES, dtype=np.uint64)


def stream(by: Labels = HASHTAGS, seed: int = 0, **options: object) -> sampling.SampleStream:
    return sampling.SampleStream(
        label_offsets=by[0],
        label_values=by[1],
        post_hash=HASHES,
        shard_starts=np.array([0, 150, 300, IMAGES]),
        num_tags=TAGS,
        seed=seed,
        selection=Selection(heldout=0.2, subset=0.7),
        policy="sqrt",
        **{"others": SYNSETS[0], **options},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_all_arms_see_the_same_photos(noise: float) -> None:
    arms = [
        stream(label_noise=noise),
        stream(label_noise=noise, shown=SYNSETS),
        stream(label_noise=noise, shuffle=True),
    ]
    draws = [arm.take(0, 2000).tolist() for arm in arms]
    assert draws[0] == draws[1] == draws[2]
    known = np.diff(SYNSETS[0]) > 0
    assert known[draws[0]].all()  # no arm sees a photo that another could not
    shown = [arm.tags(np.array(draws[0][:200])) for arm in arms]
    assert not all(np.array_equal(a, b) for a, b in zip(shown[0], shown[1], strict=True))
    assert [len(row) for row in shown[1]] == [1] * 200


def test_sampling_by_the_other_kind_is_another_stream() -> None:
    by = stream(by=SYNSETS, shown=HASHTAGS, others=SYNSETS[0])
    assert by.take(0, 500).tolist() != stream().take(0, 500).tolist()


def test_shuffling_deals_the_same_sets_to_other_training_photos() -> None:
    plain, arm = stream(), stream(shuffle=True)
    rows = arm.images()
    before = sorted(tuple(row) for row in plain.tags(rows))
    assert sorted(tuple(row) for row in arm.tags(rows)) == before
    others = np.setdiff1d(np.arange(IMAGES), rows)  # held out, outside the subset, or of one kind
    assert all(np.array_equal(a, b) for a, b in zip(plain.tags(others), arm.tags(others), strict=True))
    again, anew = stream(shuffle=True), stream(shuffle=True, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(arm.tags(rows), again.tags(rows), strict=True))
    both = np.intersect1d(rows, anew.images())
    assert not all(np.array_equal(a, b) for a, b in zip(arm.tags(both), anew.tags(both), strict=True))


def test_the_share_that_keeps_its_true_class_by_chance() -> None:
    arm, (offsets, values) = stream(shuffle=True), SYNSETS
    rows = arm.images()
    held = [values[offsets[i]] in tags for i, tags in zip(rows, arm.tags(rows), strict=True)]
    assert arm.holding(SYNSETS) == pytest.approx(np.mean(held))
    assert 0 < arm.holding(SYNSETS) < 0.5 < stream().holding(HASHTAGS) == 1
    counts = np.bincount([int(values[offsets[i]]) for i in rows], minlength=TAGS)
    assert arm.counts(SYNSETS, TAGS).tolist() == counts.tolist()
