"""Planned label noise: a fraction of the tags replaced by others, for studies of what wrong tags cost.

The paper replaced a share of the hashtags at random by others (docs/paper.md). What it does not
tell is ours: others are drawn from the tags' own distribution among the training posts, anew
until the post does not carry the tag yet, so every post keeps its number of tags. A post's
replacements depend on its id, the seed and that distribution: not on its place in a shard,
the epoch, or the number of processes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretrain.stream import chance
from wsl_det.core import seed as seeds
from wsl_det.errors import ConfigError

# A post that carries nearly every frequent tag is given up after so many draws, and keeps its own.
_ATTEMPTS = 64

Ints = NDArray[np.int64]
Labels = NDArray[np.int32]


def check_noise(fraction: float) -> None:
    """Raise ConfigError for what is no fraction of tags."""
    if not 0 <= fraction <= 1:
        raise ConfigError(f"DATA.LABEL_NOISE is {fraction}; expected a fraction in [0, 1]")


class LabelNoise:
    """Replaces each tag with probability ``fraction``.

    ``tag_counts`` (tags,) are the uses of each tag in the training posts: what is drawn from.
    """

    def __init__(self, fraction: float, tag_counts: Ints, seed: int) -> None:
        check_noise(fraction)
        self.fraction = fraction
        self._upto = np.cumsum(tag_counts).astype(np.float64)
        self._seed = seed

    def apply(self, post_hash: NDArray[np.uint64], offsets: Ints, values: Labels) -> Labels:
        """The tags of some posts with noise, in the places of ``values``.

        ``post_hash`` (n,); row i's tags are ``values[offsets[i]:offsets[i + 1]]``, offsets from 0.
        """
        counts = np.diff(offsets)
        rows = np.repeat(np.arange(len(counts)), counts)
        places = (np.arange(len(values)) - offsets[rows]).astype(np.uint64)
        # A tag's numbers belong to (post, place in the post): 2^64 counters, dealt out at random.
        counters = chance.splitmix64(self._key("post"), np.asarray(post_hash))[rows] + places
        pending = np.flatnonzero(chance.uniforms(self._key("chosen"), counters) < self.fraction)
        noisy, tags = values.copy(), len(self._upto)
        taken = rows * tags + values
        for attempt in range(_ATTEMPTS):
            if not len(pending):
                break
            drawn_at = chance.uniforms(self._key(f"draw {attempt}"), counters[pending]) * self._upto[-1]
            drawn = np.searchsorted(self._upto, drawn_at, side="right").astype(np.int64)
            pairs = rows[pending] * tags + drawn
            fresh = ~np.isin(pairs, taken)
            fresh[np.setdiff1d(np.arange(len(pairs)), np.unique(pairs, return_index=True)[1])] = False
            noisy[pending[fresh]] = drawn[fresh]
            taken = np.concatenate([taken, pairs[fresh]])
            pending = pending[~fresh]
        return noisy

    def _key(self, purpose: str) -> int:
        return seeds.derive("label noise", purpose, self._seed)
