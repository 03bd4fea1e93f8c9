"""The table of resampling, against what the stream really draws."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.stream import chance, resampling_table, sampling

# Tag 0 on 8 of 10 images, tag 1 on 4, tag 2 on 1.
ROWS = [[0]] * 6 + [[0, 1]] * 2 + [[1]] + [[1, 2]]


def stream(**options: object) -> sampling.SampleStream:
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in ROWS])]).astype(np.int64)
    return sampling.SampleStream(
        label_offsets=offsets,
        label_values=np.array([t for r in ROWS for t in r], np.int32),
        post_hash=chance.splitmix64(1, np.arange(10, dtype=np.uint64)),
        shard_starts=np.array([0, 10]),
        num_tags=4,
        seed=0,
        threshold=0.4,
        **options,  # type: ignore[arg-type]
    )


def test_effects_by_hand() -> None:
    natural, root, uniform = resampling_table.effects(stream())
    # Tag 2 is a quarter of t = 0.4: its image counts twice under sqrt, four times under uniform.
    assert [e.draws for e in (natural, root, uniform)] == [10, 11, 13]
    assert [e.largest for e in (natural, root, uniform)] == [1, 2, 4]
    assert [e.repeated for e in (natural, root, uniform)] == [0, 0.1, 0.1]
    assert uniform.tag_draws.tolist() == [8, 7, 4, 0]
    assert natural.share(np.array([0])) == 8 / 13
    p = np.array([8, 4, 1]) / 13
    assert natural.effective_tags == pytest.approx(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize("policy", sampling.POLICIES)
def test_the_table_tells_what_the_stream_draws(policy: str) -> None:
    drawn = stream(policy=policy)
    number = drawn.epoch(0).draws
    shown = np.bincount(np.concatenate(drawn.tags(drawn.take(0, number))), minlength=4)
    effect = next(e for e in resampling_table.effects(drawn) if e.policy == policy)
    assert effect.draws == number and effect.tag_draws.tolist() == shown.tolist()  # whole factors here


def test_the_lines() -> None:
    lines = resampling_table.describe(stream(policy="sqrt"), ["cat", "dog", "owl", "unseen"])
    assert "10 images and 3 tags; t = 0.4, DATA.RESAMPLE_THRESHOLD" in lines[0]
    assert [line.split()[:2] for line in lines if line.startswith("*")] == [["*", "sqrt"]]
    assert lines[-1].split() == ["owl", "1", "1", "2", "4"]
    assert not any("unseen" in line for line in lines)
