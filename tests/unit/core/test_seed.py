"""Seeds derived from parts of a name."""

from __future__ import annotations

from wsl_det.core import seed


def test_seeds_depend_on_every_part_and_its_type() -> None:
    seeds = {seed.derive(*p) for p in [(0,), (0, 0), ("0",), ("00",), (0, "0"), (0, 1)]}
    assert len(seeds) == 6
    assert seed.numpy_generator("a", 1).integers(1 << 30) == seed.numpy_generator("a", 1).integers(1 << 30)
