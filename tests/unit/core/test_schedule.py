"""Learning-rate factors by hand."""

from __future__ import annotations

import pytest

from wsl_det.core import schedule, seed
from wsl_det.errors import ConfigError


def test_factors() -> None:
    assert [schedule.multi_step(s, (2, 4), 0.1) for s in (1, 2, 4)] == pytest.approx([1, 0.1, 0.01])
    assert [schedule.cosine(s, 10) for s in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    assert [schedule.warmup(s, 4, 0.2) for s in (0, 2, 4, 9)] == pytest.approx([0.2, 0.6, 1, 1])
    assert schedule.warmup(3, 4, 0.2, "constant") == 0.2
    with pytest.raises(ConfigError, match="warm-up method"):
        schedule.warmup(0, 4, 0.2, "quadratic")


def test_seeds_depend_on_every_part_and_its_type() -> None:
    seeds = {seed.derive(*p) for p in [(0,), (0, 0), ("0",), ("00",), (0, "0"), (0, 1)]}
    assert len(seeds) == 6
    assert seed.numpy_generator("a", 1).integers(1 << 30) == seed.numpy_generator("a", 1).integers(1 << 30)
