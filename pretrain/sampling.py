"""Which image stands at which place of the training stream: a pure function of (seed, epoch, step).

Replication follows the paper's resampling (Mahajan et al. 2018, the form written down in
Detectron2's ``RepeatFactorTrainingSampler``): a tag of frequency f has the factor
max(1, phi(t / f)), phi the identity ("uniform") or the square root ("sqrt"), an image the
largest factor of its tags, and the fraction is rounded at random anew in every epoch.
Chance comes from a counter-based generator, so any stretch of the stream can be computed
without what came before it; that is what makes resuming and re-splitting exact.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsl_det.core import seed as seeds
from wsl_det.errors import ConfigError, DataError

POLICIES = ("natural", "sqrt", "uniform")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Labels are looked at this many images at a time: bounded memory for indexes of billions.
_CHUNK = 1 << 20

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def splitmix64(key: int, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The ``counters``-th outputs (from 0) of the SplitMix64 generator seeded with ``key``."""
    z = np.uint64(key & 0xFFFFFFFFFFFFFFFF) + (counters + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(key: int, counters: NDArray[np.uint64]) -> Floats:
    """Numbers in [0, 1) with 53 random bits, one for each counter, in the shape of ``counters``."""
    return (splitmix64(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(key: int, length: int) -> Ints:
    """A permutation of 0..length-1 that depends on ``key`` alone and on no library version."""
    return np.argsort(splitmix64(key, np.arange(length, dtype=np.uint64)), kind="stable")


def held_out(post_hash: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    """True for the posts whose hash falls in the lowest ``fraction`` of its range.

    A post's side depends on its id alone: adding posts to a data set moves none across.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"DATA.HELDOUT is {fraction}; expected a fraction in [0, 1)")
    return post_hash < np.uint64(int(fraction * 2.0**64))


def held_out_images(post_hash: NDArray[np.uint64], label_offsets: Ints, fraction: float) -> Ints:
    """The held-out images that have tags, ascending."""
    found = []
    for first in range(0, len(post_hash), _CHUNK):
        part = held_out(np.asarray(post_hash[first : first + _CHUNK]), fraction)
        part &= np.diff(label_offsets[first : first + len(part) + 1]) > 0
        found.append(np.flatnonzero(part) + first)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def tag_factors(frequencies: Floats, *, policy: str, threshold: float) -> Floats:
    """Replication factor of each tag, at least 1; ``frequencies`` are fractions of the images.

    ``threshold`` is the frequency below which a tag is repeated; 0 stands for the median
    frequency of the tags that occur. Tags that never occur have factor 1.
    """
    if policy not in POLICIES:
        raise ConfigError(f"DATA.RESAMPLE is {policy!r}; expected one of {', '.join(POLICIES)}")
    if threshold < 0:
        raise ConfigError(
            f"DATA.RESAMPLE_THRESHOLD is {threshold}; expected a frequency >= 0 (0: the median)"
        )
    present = frequencies > 0
    factors = np.ones_like(frequencies, dtype=np.float64)
    if policy == "natural" or not present.any():
        return factors
    ratio = (threshold or float(np.median(frequencies[present]))) / frequencies[present]
    factors[present] = np.maximum(1.0, np.sqrt(ratio) if policy == "sqrt" else ratio)
    return factors


def image_factors(label_offsets: Ints, label_values: NDArray[np.int32], factors: Floats) -> Floats:
    """Largest factor among each image's tags, (images,); 0 for an image without tags.

    ``label_offsets`` (images + 1,) may start anywhere; ``label_values`` is indexed by it.
    """
    values = factors[label_values[label_offsets[0] : label_offsets[-1]]]
    starts = label_offsets[:-1] - label_offsets[0]
    tagged = np.diff(label_offsets) > 0
    largest = np.zeros(len(starts))
    if tagged.any():
        # Starts of the untagged are skipped: reduceat would give them their neighbour's tag.
        largest[tagged] = np.maximum.reduceat(values, starts[tagged])
    return largest


def round_at_random(factors: Floats, key: int, images: Ints) -> Ints:
    """Times each image is drawn in one epoch: the factor rounded up with its fraction's probability."""
    whole = np.floor(factors)
    return (whole + (uniforms(key, images.astype(np.uint64)) < factors - whole)).astype(np.int64)


def legal_world_sizes(num_groups: int) -> list[int]:
    """The numbers of processes that ``num_groups`` BN groups can be dealt out to evenly."""
    return [n for n in range(1, num_groups + 1) if num_groups % n == 0]


def check_world_size(batch: int, group: int, world: int) -> int:
    """Number of BN groups for each of ``world`` processes; ConfigError names the nearest legal sizes."""
    if batch < 1 or group < 1:
        raise ConfigError(f"SOLVER.IMS_PER_BATCH {batch}, MODEL.BN_GROUP {group}: expected at least 1")
    if batch % group:
        legal = sorted({max(1, batch // group) * group, -(-batch // group) * group})
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {batch} is not a multiple of MODEL.BN_GROUP {group}; "
            f"nearest legal batches: {', '.join(map(str, legal))}"
        )
    sizes = legal_world_sizes(batch // group)
    if world not in sizes:
        after = bisect_right(sizes, world)
        near = ", ".join(str(n) for n in sizes[after - 1 : after + 1])
        raise ConfigError(
            f"{world} processes cannot share {batch // group} BN groups of {group} evenly "
            f"(SOLVER.IMS_PER_BATCH {batch}); nearest legal numbers of processes: {near}"
        )
    return batch // group // world


@dataclass(frozen=True)
class Epoch:
    """The plan of one epoch: shards in their order and where each window of shards begins."""

    number: int
    shard_order: Ints  # (shards,)
    window_starts: Ints  # (windows + 1,) draws before each window; the last is the epoch's length

    @property
    def draws(self) -> int:
        """Length of the epoch in draws; an image drawn twice counts twice."""
        return int(self.window_starts[-1])


class SampleStream:
    """The endless sequence of draws over a shard index, addressable at any place.

    An epoch goes once through all shards in a random order, ``window`` shards at a time;
    draws are shuffled within such a window, so reading stays near a few shards. Epochs
    follow each other without a gap: a batch may hold the end of one and the start of the
    next, and every image is drawn exactly as often as planned.
    """

    def __init__(
        self,
        *,
        label_offsets: Ints,
        label_values: NDArray[np.int32],
        post_hash: NDArray[np.uint64],
        shard_starts: Ints,
        num_tags: int,
        seed: int,
        heldout: float = 0.0,
        policy: str = "natural",
        threshold: float = 0.0,
        window: int = 16,
    ) -> None:
        """``shard_starts`` (shards + 1,): first image of each shard, then the number of images."""
        if window < 1:
            raise ConfigError(f"DATA.SHUFFLE_SHARDS is {window}; expected at least 1")
        self._offsets, self._values, self._hash = label_offsets, label_values, post_hash
        self._shards = np.asarray(shard_starts, dtype=np.int64)
        self._seed, self._heldout, self._window = seed, heldout, window
        self.tag_counts, self.num_images = self._count(num_tags)
        if not self.num_images:
            raise DataError(
                f"no image is left to train on: {len(post_hash)} images, "
                f"of which {heldout:.3g} are held out and the rest have no tag of the vocabulary"
            )
        frequencies = self.tag_counts / self.num_images
        self._factors = tag_factors(frequencies, policy=policy, threshold=threshold)
        self._ends: list[int] = []  # draws up to the end of each epoch planned so far
        self._plans: dict[int, Epoch] = {}
        self._drawn: tuple[tuple[int, int], Ints] | None = None

    def take(self, start: int, count: int) -> Ints:
        """Image indices of the draws ``start`` .. ``start + count - 1`` of the endless stream."""
        parts: list[Ints] = []
        while count > 0:
            plan, place = self._locate(start)
            window = int(np.searchsorted(plan.window_starts, place, side="right")) - 1
            draws = self._window_draws(plan, window)
            first = place - int(plan.window_starts[window])
            part = draws[first : first + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def epoch_at(self, start: int) -> tuple[int, int]:
        """(epoch, draws already made in it) at place ``start`` of the stream."""
        plan, place = self._locate(start)
        return plan.number, place

    def epoch(self, number: int) -> Epoch:
        """The plan of epoch ``number``: one pass over the labels."""
        if number not in self._plans:
            order = shuffled(seeds.derive("shards", self._seed, number), len(self._shards) - 1)
            per_shard = np.array([self._shard_draws(number, s) for s in range(len(order))], dtype=np.int64)
            windows = np.add.reduceat(per_shard[order], np.arange(0, len(order), self._window))
            starts = np.concatenate([[0], np.cumsum(windows)]).astype(np.int64)
            # Two are kept: a batch at the border of two epochs asks for both.
            self._plans = {k: v for k, v in self._plans.items() if abs(k - number) == 1}
            self._plans[number] = Epoch(number, order, starts)
        return self._plans[number]

    def factors(self, first: int, last: int) -> Floats:
        """Replication factors of the images ``first`` .. ``last - 1``; 0 for held-out and untagged ones."""
        found = image_factors(
            np.asarray(self._offsets[first : last + 1], dtype=np.int64), self._values, self._factors
        )
        found[held_out(np.asarray(self._hash[first:last]), self._heldout)] = 0
        return found

    def _locate(self, start: int) -> tuple[Epoch, int]:
        while not self._ends or self._ends[-1] <= start:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + self.epoch(len(self._ends)).draws)
        number = bisect_right(self._ends, start)
        return self.epoch(number), start - (self._ends[number - 1] if number else 0)

    def _counts(self, epoch: int, first: int, last: int) -> Ints:
        key = seeds.derive("rounding", self._seed, epoch)
        return round_at_random(self.factors(first, last), key, np.arange(first, last))

    def _shard_draws(self, epoch: int, shard: int) -> int:
        first, last = (int(x) for x in self._shards[shard : shard + 2])
        return int(self._counts(epoch, first, last).sum())

    def _window_draws(self, plan: Epoch, window: int) -> Ints:
        if self._drawn is None or self._drawn[0] != (plan.number, window):
            parts = []
            for shard in plan.shard_order[window * self._window : (window + 1) * self._window]:
                first, last = (int(x) for x in self._shards[shard : shard + 2])
                parts.append(np.repeat(np.arange(first, last), self._counts(plan.number, first, last)))
            draws = np.concatenate(parts)
            order = shuffled(seeds.derive("window", self._seed, plan.number, window), len(draws))
            self._drawn = (plan.number, window), draws[order]
        return self._drawn[1]

    def _count(self, num_tags: int) -> tuple[Ints, int]:
        counts, images = np.zeros(num_tags, dtype=np.int64), 0
        for first in range(0, len(self._hash), _CHUNK):
            last = min(first + _CHUNK, len(self._hash))
            offsets = np.asarray(self._offsets[first : last + 1], dtype=np.int64)
            training = ~held_out(np.asarray(self._hash[first:last]), self._heldout) & (np.diff(offsets) > 0)
            tags = np.asarray(self._values[offsets[0] : offsets[-1]])
            counts += np.bincount(tags[np.repeat(training, np.diff(offsets))], minlength=num_tags)
            images += int(training.sum())
        return counts, images
