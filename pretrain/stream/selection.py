"""Which posts are trained on: neither held out, nor outside the subset, nor excluded by a review.

A post's side is decided by its id alone, so it stays where it is when others arrive, and the
held-out posts are the same whatever is left out of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrain.stream import chance
from wsl_det.core import seed as seeds
from wsl_det.errors import ConfigError

# Hashes are looked at this many at a time: bounded memory for indexes of billions.
_CHUNK = 1 << 20

Hashes = NDArray[np.uint64]


def held_out(post_hash: Hashes, fraction: float) -> NDArray[np.bool_]:
    """True for the posts whose hash falls in the lowest ``fraction`` of its range.

    A post's side depends on its id alone: adding posts to a data set moves none across.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"DATA.HELDOUT is {fraction}; expected a fraction in [0, 1)")
    return chance.lowest(post_hash, fraction)


def held_out_images(
    post_hash: Hashes, label_offsets: NDArray[np.int64], fraction: float
) -> NDArray[np.int64]:
    """The held-out images that have tags, ascending."""
    found = []
    for first in range(0, len(post_hash), _CHUNK):
        part = held_out(np.asarray(post_hash[first : first + _CHUNK]), fraction)
        part &= np.diff(label_offsets[first : first + len(part) + 1]) > 0
        found.append(np.flatnonzero(part) + first)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def in_subset(post_hash: Hashes, fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the posts of the subset that holds ``fraction`` of them; smaller ones lie inside larger ones.

    Posts are ranked by a hash of id and ``seed`` that has nothing to do with being held out;
    the size is met on average, to within sqrt(n fraction (1 - fraction)).
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"DATA.SUBSET is {fraction}; expected a fraction in (0, 1]")
    return chance.lowest(chance.splitmix64(seeds.derive("subset", seed), post_hash), fraction)


@dataclass(frozen=True, eq=False)
class Selection:
    """Rule by which posts are trained on.

    ``excluded`` are hashes of post ids (``shards.post_hash``) that must not be trained on.
    """

    heldout: float = 0.0
    subset: float = 1.0
    seed: int = 0
    excluded: Hashes | None = None

    def training(self, post_hash: Hashes) -> NDArray[np.bool_]:
        """True for the posts to train on; ConfigError for fractions out of range."""
        chosen = ~held_out(post_hash, self.heldout) & in_subset(post_hash, self.subset, self.seed)
        if self.excluded is not None and len(self.excluded):
            chosen &= ~np.isin(post_hash, self.excluded)
        return chosen

    def __str__(self) -> str:
        """What is left out, in words."""
        parts = [f"{self.heldout:.3g} are held out"]
        if self.subset < 1:
            parts.append(f"only {self.subset:.3g} are in the subset")
        if self.excluded is not None and len(self.excluded):
            parts.append(f"{len(self.excluded):,} ids are excluded")
        return ", ".join(parts)
