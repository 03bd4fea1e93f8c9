"""Which image stands at which place of the training stream: a pure function of (seed, epoch, step).

The paper (Mahajan et al. 2018) compares natural, square-root and uniform resampling of hashtags;
the rule here is that of Detectron2's ``RepeatFactorTrainingSampler``: a tag of frequency f has
the factor max(1, phi(t / f)), phi the identity ("uniform") or the square root ("sqrt"), an image
the largest factor of its tags, and the fraction is rounded at random anew in every epoch.
Chance comes from a counter-based generator, so any stretch of the stream can be computed
without what came before it; that is what makes resuming and re-splitting exact.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pretrain.stream.chance import shuffled, uniforms
from pretrain.stream.label_noise import LabelNoise, check_noise
from pretrain.stream.selection import Selection
from wsl_det.core import seed as seeds
from wsl_det.errors import ConfigError, DataError

POLICIES = ("natural", "sqrt", "uniform")

# Labels are looked at this many images at a time: bounded memory for indexes of billions.
_CHUNK = 1 << 20

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Labels = tuple[Ints, NDArray[np.int32]]  # of images: row i's are values[offsets[i]:offsets[i + 1]]


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


def rows_of(labels: Labels, images: Iterable[int]) -> list[NDArray[np.int32]]:
    """The labels of ``images``."""
    offsets, values = labels
    return [values[offsets[i] : offsets[i + 1]] for i in images]


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
        selection: Selection = Selection(),  # noqa: B008 (frozen: it cannot be changed by a call)
        others: Ints | None = None,
        shown: Labels | None = None,
        shuffle: bool = False,
        label_noise: float = 0.0,
        policy: str = "natural",
        threshold: float = 0.0,
        window: int = 16,
    ) -> None:
        """``shard_starts`` (shards + 1,): first image of each shard, then the number of images.

        ``label_noise`` is the fraction of the tags of posts trained on that is replaced by others.
        What is drawn depends on ``label_offsets`` and ``label_values`` alone. ``shown`` are the labels
        trained on instead, and with ``shuffle`` every image gets those of another (the same sets, dealt out
        anew for each seed). Images without a label in ``others`` (images + 1,) are not trained on.
        """
        if window < 1:
            raise ConfigError(f"DATA.SHUFFLE_SHARDS is {window}; expected at least 1")
        self._offsets, self._values, self._hash = label_offsets, label_values, post_hash
        self._others = others
        self._shards = np.asarray(shard_starts, dtype=np.int64)
        self._seed, self._selection, self._window = seed, selection, window
        self.policy, self.threshold = policy, threshold
        check_noise(label_noise)
        self._noise: LabelNoise | None = None
        self.num_replaced = 0
        self.tag_counts, self.num_images = self._count(num_tags)
        if not self.num_images:
            raise DataError(
                f"no image is left to train on: {len(post_hash)} images, "
                f"of which {selection} and the rest have no tag of the vocabulary"
            )
        if label_noise:
            self._noise = LabelNoise(label_noise, self.tag_counts, seed)
            self.tag_counts, _ = self._count(num_tags)
        self._shown = shown or (label_offsets, label_values)
        self._shown_noise = self._noise
        if shown is not None and label_noise:
            self._shown_noise = LabelNoise(label_noise, self.counts(shown, num_tags), seed)
        self._whose: Ints | None = None  # whose labels each image shows
        if shuffle:
            rows = self.images()
            self._whose = np.arange(len(post_hash))
            self._whose[rows] = rows[shuffled(seeds.derive("shuffled labels", seed), len(rows))]
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

    def twin(self) -> SampleStream:
        """The same stream for another thread: what is remembered of the last draws is not shared."""
        twin = copy.copy(self)
        twin._ends, twin._plans, twin._drawn = list(self._ends), dict(self._plans), None
        return twin

    def epoch_at(self, start: int) -> tuple[int, int]:
        """(epoch, draws already made in it) at place ``start`` of the stream."""
        plan, place = self._locate(start)
        return plan.number, place

    def epoch(self, number: int) -> Epoch:
        """The plan of epoch ``number``: one pass over the labels."""
        if number not in self._plans:
            order = shuffled(seeds.derive("shards", self._seed, number), len(self._shards) - 1)
            spans = pairwise(self._shards.tolist())
            per_shard = np.array([self._counts(number, *span).sum() for span in spans], dtype=np.int64)
            windows = np.add.reduceat(per_shard[order], np.arange(0, len(order), self._window))
            starts = np.concatenate([[0], np.cumsum(windows)]).astype(np.int64)
            # Two are kept: a batch at the border of two epochs asks for both.
            self._plans = {k: v for k, v in self._plans.items() if abs(k - number) == 1}
            self._plans[number] = Epoch(number, order, starts)
        return self._plans[number]

    def factors(self, first: int, last: int) -> Floats:
        """Replication factors of the images ``first`` .. ``last - 1``; 0 for those not trained on."""
        training, offsets, values = self.labelled(first, last)
        found = image_factors(offsets, values, self._factors)
        found[~training] = 0
        return found

    def labelled(self, first: int, last: int) -> tuple[NDArray[np.bool_], Ints, NDArray[np.int32]]:
        """The images ``first`` .. ``last - 1``: which are trained on, and their tags with label noise.

        Row i's tags are the third, from the second's [i] to its [i + 1].
        """
        offsets = np.asarray(self._offsets[first : last + 1], dtype=np.int64)
        values = np.asarray(self._values[offsets[0] : offsets[-1]])
        offsets = offsets - offsets[0]
        hashes = np.asarray(self._hash[first:last])
        training = self._selection.training(hashes) & (np.diff(offsets) > 0)
        if self._others is not None:
            training &= np.diff(self._others[first : last + 1]) > 0
        if self._noise is not None:
            values = self._noise.apply(hashes, offsets, values)
        return training, offsets, values

    def chunks(self) -> Iterator[tuple[NDArray[np.bool_], Ints, NDArray[np.int32]]]:
        """``labelled`` of all images, a bounded number at a time."""
        for first in range(0, len(self._hash), _CHUNK):
            yield self.labelled(first, min(first + _CHUNK, len(self._hash)))

    def tags(self, images: Ints) -> list[NDArray[np.int32]]:
        """The tags that training shows for each of ``images``, label noise included."""
        whose = images if self._whose is None else self._whose[images]
        rows = rows_of(self._shown, whose)
        if self._shown_noise is None or not rows:
            return rows
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        noisy = self._shown_noise.apply(np.asarray(self._hash[images]), offsets, np.concatenate(rows))
        return np.split(noisy, offsets[1:-1])

    def images(self) -> Ints:
        """The images trained on, ascending."""
        return np.flatnonzero(np.concatenate([training for training, _, _ in self.chunks()]))

    def counts(self, labels: Labels, num_tags: int) -> Ints:
        """Uses of each tag of ``labels`` among the images trained on, (num_tags,)."""
        kept = np.zeros(len(self._hash), dtype=np.bool_)
        kept[self.images()] = True
        return np.bincount(labels[1][np.repeat(kept, np.diff(labels[0]))], minlength=num_tags)

    def holding(self, labels: Labels) -> float:
        """The share of the images trained on that show one of their own ``labels``."""
        rows = self.images()
        pairs = zip(self.tags(rows), rows_of(labels, rows), strict=True)
        return sum(bool(np.isin(tags, own).any()) for tags, own in pairs) / len(rows)

    def _locate(self, start: int) -> tuple[Epoch, int]:
        while not self._ends or self._ends[-1] <= start:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + self.epoch(len(self._ends)).draws)
        number = bisect_right(self._ends, start)
        return self.epoch(number), start - (self._ends[number - 1] if number else 0)

    def _counts(self, epoch: int, first: int, last: int) -> Ints:
        key = seeds.derive("rounding", self._seed, epoch)
        return round_at_random(self.factors(first, last), key, np.arange(first, last))

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
        counts, images, self.num_replaced, start = np.zeros(num_tags, dtype=np.int64), 0, 0, 0
        for training, offsets, tags in self.chunks():
            kept = np.repeat(training, np.diff(offsets))
            counts += np.bincount(tags[kept], minlength=num_tags)
            images += int(training.sum())
            clean = self._values[start : start + len(tags)]
            self.num_replaced += int((tags != clean)[kept].sum())
            start += len(tags)
        return counts, images
