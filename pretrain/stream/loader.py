"""Shards in stream order to batches: every process reads its own BN groups of the same global batch."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.stream import chance, sampling
from pretrain.stream.transforms import NUM_CHANCES, Pixels
from wsl_det.core import seed as seeds
from wsl_det.core.budget import Budget
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError


class Tags(NamedTuple):
    """The tags of a batch as a padded table."""

    ids: Tensor  # (N, K) int64, rows filled up with 0
    counts: Tensor  # (N,) int64: k of each image


def pack_tags(rows: Sequence[NDArray[np.int32]]) -> Tags:
    """Tags of each image without repetitions, padded; an image without tags has count 0.

    Synonyms are one class after canonicalization: counted twice they would outweigh the rest.
    """
    unique = [np.unique(row) for row in rows]
    width = max((len(row) for row in unique), default=0)
    ids = np.zeros((len(unique), max(width, 1)), dtype=np.int64)
    for row, tags in zip(ids, unique, strict=True):
        row[: len(tags)] = tags
    return Tags(torch.from_numpy(ids), torch.tensor([len(row) for row in unique], dtype=torch.int64))


Crop = Callable[[bytes, Sequence[float]], Pixels]

# Chances of neighbouring draws must not overlap: each draw owns this many counters.
_LANES = np.uint64(64)
# Images of one task: enough to hide the cost of handing it to a thread.
_TASK = 8


class Posts(Protocol):
    """What training needs of a shard index (``pretrain.shards.index.ShardIndex`` is one)."""

    label_offsets: NDArray[np.int64]
    label_values: NDArray[np.int32]

    def __len__(self) -> int: ...
    def key(self, image: int) -> str: ...
    def read(self, image: int) -> bytes: ...
    def ahead(self, order: Iterable[NDArray[np.int64]]) -> AbstractContextManager[None]: ...


class Batch(NamedTuple):
    """One process's part of a global batch, and the name of the stream up to and with it."""

    step: int
    images: Tensor  # (n, size, size, 3) uint8 RGB
    tags: Tags
    draws: NDArray[np.int64]  # (n,) images shown, substitutes included
    epoch: float  # epochs of the stream that are over after this batch
    stream: str  # hash over every global draw so far

    def pieces(self, number: int) -> tuple[Batch, ...]:
        """The batch cut into ``number`` parts of equally many images."""
        size = len(self.draws) // number
        return tuple(self._rows(slice(i * size, (i + 1) * size)) for i in range(number))

    def _rows(self, rows: slice) -> Batch:
        tags = Tags(self.tags.ids[rows], self.tags.counts[rows])
        return self._replace(images=self.images[rows], tags=tags, draws=self.draws[rows])


@dataclass(frozen=True)
class Share:
    """Which part of a global batch of ``batch`` images, in BN groups of ``group``, a process takes."""

    batch: int
    group: int
    rank: int = 0
    world: int = 1

    @property
    def groups(self) -> int:
        """BN groups of this process; ConfigError for a world size that does not divide them."""
        return sampling.check_world_size(self.batch, self.group, self.world)

    @property
    def rows(self) -> slice:
        """This process's rows of the global batch."""
        size = self.groups * self.group
        return slice(self.rank * size, (self.rank + 1) * size)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, normalized; in memory the channels stay last."""
    pixels = images.permute(0, 3, 1, 2).float()
    return (pixels - _channels(tuple(mean), pixels.device)) / _channels(tuple(std), pixels.device)


@lru_cache(maxsize=8)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    # Kept, because a copy to a GPU would wait for the step before.
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def crop_chances(seed: int, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """What chance decides of the crops at ``places`` of the stream, (places, NUM_CHANCES)."""
    lanes = np.arange(NUM_CHANCES, dtype=np.uint64)
    return chance.uniforms(seeds.derive("crop", seed), places.astype(np.uint64)[:, None] * _LANES + lanes)


class Loader:
    """Batches of the stream from ``start`` on, decoded ahead by threads.

    What a batch holds depends on (stream, step) alone: neither on threads nor on what was
    read before. An image that does not decode is replaced by the next one of its BN group
    that does, cropped anew, so that every group keeps its size.
    """

    def __init__(
        self,
        posts: Posts,
        stream: sampling.SampleStream,
        crop: Crop,
        share: Share,
        *,
        size: int,
        seed: int,
        num_threads: int = 2,
        prefetch: int = 2,
        skip_budget: float = 0.01,
        budget_name: str = "DATA.SKIP_BUDGET",
        pin_memory: bool = False,
    ) -> None:
        self._posts, self._stream, self._crop, self._share = posts, stream, crop, share
        self._size, self._seed = size, seed
        self._threads, self._prefetch, self._pin = max(1, num_threads), max(0, prefetch), pin_memory
        self.budget = Budget(skip_budget, budget_name)

    def batches(self, start: int, stop: int, stream_hash: str) -> Iterator[Batch]:
        """The batches of the steps ``start`` .. ``stop - 1``; ``stream_hash`` names what came before."""
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        with self._posts.ahead(self._order(start, stop)), pool:
            ahead: deque[_Pending] = deque()
            try:
                for step in range(start, stop):
                    while len(ahead) <= self._prefetch and (planned := step + len(ahead)) < stop:
                        ahead.append(self._begin(planned, pool))
                    pending = ahead.popleft()
                    stream_hash = extend_hash(stream_hash, pending.all_draws)
                    yield self._finish(pending, stream_hash)
            finally:
                # Whoever stops early must not wait for what was read ahead.
                pool.shutdown(wait=True, cancel_futures=True)

    def _order(self, start: int, stop: int) -> Iterator[NDArray[np.int64]]:
        """What this process will read, step by step; of a stream of its own, for another thread."""
        share, stream = self._share, self._stream.twin()
        for step in range(start, stop):
            yield stream.take(step * share.batch + share.rows.start, share.rows.stop - share.rows.start)

    def _begin(self, step: int, pool: ThreadPoolExecutor) -> _Pending:
        share = self._share
        all_draws = self._stream.take(step * share.batch, share.batch)
        epoch, place = self._stream.epoch_at((step + 1) * share.batch - 1)
        epochs = epoch + (place + 1) / self._stream.epoch(epoch).draws
        rows = share.rows
        draws = all_draws[rows].copy()
        chances = crop_chances(self._seed, np.arange(rows.start, rows.stop) + step * share.batch)
        images = torch.empty((len(draws), self._size, self._size, 3), dtype=torch.uint8, pin_memory=self._pin)
        pending = _Pending(step, all_draws, draws, chances, images, epochs, [])
        for first in range(0, len(draws), _TASK):
            task = range(first, min(first + _TASK, len(draws)))
            pending.tasks.append(pool.submit(self._decode, pending, task))
        return pending

    def _decode(self, pending: _Pending, rows: range) -> list[tuple[int, str]]:
        pixels = pending.images.numpy()
        failures = []
        for row in rows:
            try:
                pixels[row] = self._crop(
                    self._posts.read(int(pending.draws[row])), pending.chances[row].tolist()
                )
            except BadImage as error:
                failures.append((row, str(error)))
        return failures

    def _finish(self, pending: _Pending, stream_hash: str) -> Batch:
        failures = dict(row for task in pending.tasks for row in task.result())
        named = [(self._posts.key(int(pending.draws[row])), why) for row, why in failures.items()]
        self.budget.count(named, len(pending.draws))
        original = pending.draws.copy()
        for row in failures:
            self._substitute(pending, original, row, failures)
        tags = pack_tags(self._stream.tags(pending.draws))
        return Batch(pending.step, pending.images, tags, pending.draws, pending.epoch, stream_hash)

    def _substitute(
        self, pending: _Pending, original: NDArray[np.int64], row: int, failures: dict[int, str]
    ) -> None:
        group = self._share.group
        first = row // group * group
        for other in (first + (row - first + shift) % group for shift in range(1, group)):
            if other not in failures:
                pending.draws[row] = original[other]
                self._decode(pending, range(row, row + 1))
                return
        raise DataError(
            f"no image of a BN group of {group} decodes at step {pending.step}; "
            f"the last is {self._posts.key(int(original[row]))}: {failures[row]}"
        )


@dataclass
class _Pending:
    step: int
    all_draws: NDArray[np.int64]
    draws: NDArray[np.int64]
    chances: NDArray[np.float64]
    images: Tensor
    epoch: float
    tasks: list[Future[list[tuple[int, str]]]]


def extend_hash(stream_hash: str, draws: NDArray[np.int64]) -> str:
    """The name of a stream that goes on with ``draws``: a chain of SHA-256, as hex digits."""
    return hashlib.sha256(bytes.fromhex(stream_hash) + draws.astype("<i8").tobytes()).hexdigest()


def start_hash(**identity: int | float | str) -> str:
    """The name of an empty stream: what the draws will depend on (data set, seed, resampling, ...)."""
    text = "\n".join(f"{key}={value!r}" for key, value in sorted(identity.items()))
    return hashlib.sha256(text.encode()).hexdigest()
