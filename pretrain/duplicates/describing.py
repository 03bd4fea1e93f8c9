"""Many images to descriptors: work cut into units, done by processes, kept on disk when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from pretrain.duplicates import rmac
from pretrain.duplicates.rmac import Settings
from pretrain.duplicates.sources import Images
from pretrain.workers import mapping, outputs
from pretrain.workers.outputs import Outputs
from wsl_det.core import log
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError

UNIT = 512
"""Images of one piece of work: what is lost when a run is killed, and what is in memory at once."""
_BATCH = 16
Change = Callable[[bytes, int], bytes]


@dataclass(frozen=True)
class Unit:
    """Images to describe: the ``rows`` of ``images``; ``flip`` mirrors them first."""

    images: Images
    rows: Sequence[int]  # a range costs nothing, whatever its length
    flip: bool = False
    stored: str | None = None  # name under which the descriptors are kept on disk
    change: Change | None = None  # (file, row) to another file, for planted copies


@dataclass(frozen=True)
class Work:
    """What a process needs to describe units; ``cache`` is the folder that keeps descriptors, or None."""

    backbone: str
    settings: Settings
    device: str = "cpu"
    cache: Path | None = None
    threads: int = 0  # of torch in each process; 0 leaves them alone

    def __call__(self, unit: Unit) -> Outputs:
        """The descriptors of a unit, read from the cache where they lie."""
        place = None
        if self.cache is not None and unit.stored is not None:
            place = self.cache / f"{unit.stored}.npz"
            if (found := outputs.load(place, unit.rows)) is not None:
                return found
        if self.threads:
            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.threads)
        described = _describe(_describer(self.backbone, self.settings, self.device), unit)
        if place is not None:
            described.store(place)
        return described


class Crew:
    """Who describes: one pool of processes for a whole search, or this process alone.

    A process loads the trunk once, so the pool stays. Use it as a context.
    """

    def __init__(self, work: Work, workers: int) -> None:
        self.work, self._workers = work, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Crew:
        if self._workers > 1:
            self._pool = mapping.processes(self._workers)
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def describe(self, units: Sequence[Unit], what: str) -> Iterator[Outputs]:
        """The descriptors of all units, in order, with progress; DataError when a process dies."""
        try:
            if self._pool is None:
                yield from log.progress(map(self.work, units), len(units), what)
            else:
                done = mapping.ahead(self._pool, self.work, units, 2 * self._workers)
                yield from log.progress(done, len(units), what)
        except BrokenProcessPool:
            raise DataError(
                "a worker process died (out of memory?); use fewer --workers, and --cache DIR to go on from "
                "what was described"
            ) from None


def units(
    images: Images, rows: Sequence[int] | range, *, flip: bool = False, stored: str | None = None
) -> list[Unit]:
    """``rows`` cut into units; ``stored`` is the folder in the cache that keeps them."""
    found = []
    for first in range(0, len(rows), UNIT):
        part = rows[first : first + UNIT]
        name = f"{stored}/{part[0]:012d}-{part[-1]:012d}{'-flip' if flip else ''}" if stored else None
        found.append(Unit(images, part, flip, name))
    return found


@lru_cache(maxsize=1)
def _describer(backbone: str, settings: Settings, device: str) -> rmac.Describer:
    return rmac.Describer(backbone, settings, device)


def _describe(describer: rmac.Describer, unit: Unit) -> Outputs:
    size = describer.settings.size
    found = Outputs(
        rows=np.array(unit.rows, dtype=np.int64),
        vectors=np.zeros((len(unit.rows), describer.dim), dtype=np.float32),
        hashes=[""] * len(unit.rows),
    )
    for first in range(0, len(unit.rows), _BATCH):
        places, squares = [], []
        for place in range(first, min(first + _BATCH, len(unit.rows))):
            row = unit.rows[place]
            try:
                data = unit.images.read(row)
                found.hashes[place] = hashlib.sha256(data).hexdigest()
                pixels = rmac.square(data if unit.change is None else unit.change(data, row), size)
            except BadImage as rejected:
                found.unreadable[row] = str(rejected)
                continue
            places.append(place)
            squares.append(cv2.flip(pixels, 1) if unit.flip else pixels)
        if squares:
            found.vectors[places] = describer(np.stack(squares))
    return found
