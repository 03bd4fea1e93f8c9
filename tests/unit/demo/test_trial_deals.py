"""The trial of dealt hashtags: deals are balanced, posts carry what was dealt, slopes are of counts alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import trial_deals
from wsl_det.demo.catalogue import DETECTED, KINDS


def test_half_of_the_kinds_have_none_and_the_others_what_was_dealt() -> None:
    deals = [trial_deals.deal(number) for number in range(40)]
    for counts in deals:
        assert sum(counts[kind.name] == 0 for kind in DETECTED) == 6 and len(counts) == len(KINDS)
        assert set(counts.values()) <= {0, 2, 8, 32, 128}
    assert len({tuple(counts.values()) for counts in deals}) == 40
    assert {counts["zebra"] for counts in deals} == {0, 2, 8, 32, 128}
    assert trial_deals.deal(3) == deals[3]


def test_posts_carry_the_hashtags_of_the_deal_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "posts").mkdir()
    pairs = [(KINDS[i % 16].name, KINDS[(i + 3) % 16].name) for i in range(1200)]
    shown = [{"id": f"{i:05}", "classes": pair} for i, pair in enumerate(pairs)]
    (tmp_path / "posts" / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    trial_deals.write_posts(tmp_path, tmp_path, 0)
    posts = [json.loads(line) for line in (tmp_path / "posts.jsonl").read_text().splitlines()]
    used = Counter(tag for post in posts for tag in post["hashtags"])
    wanted = {(*k.synonyms, *k.ambiguous)[0]: trial_deals.deal(0)[k.name] for k in KINDS}
    assert used == {word: count for word, count in wanted.items() if count}
    (tmp_path / "posts" / "truth.jsonl").write_text(json.dumps(shown[0]) + "\n")
    with pytest.raises(SystemExit, match="a deal needs"):
        trial_deals.write_posts(tmp_path, tmp_path, 0)


def test_the_slope_is_free_of_kinds_and_deals() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 12))
    y = 2.5 * x + 10 * rng.normal(size=12) + 10 * rng.normal(size=(6, 1))
    assert trial_deals.slope(x, y) == pytest.approx(2.5)
    mirrored = np.array([[0.0, 1, 0, 1], [1, 2, 1, 2]])  # kinds and deals explain all of it
    assert trial_deals.slope(mirrored, y[:2, :4]) == 0
