"""Pooled features of many photos: cut into units, shared among processes, kept in files."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.stream import transforms
from pretrain.transfer import folders
from pretrain.transfer.backbone import Network
from pretrain.transfer.folders import Split
from pretrain.workers import outputs as stored
from pretrain.workers.outputs import Outputs
from wsl_det.core import dist, log
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError

VERSION = 1
"""Goes into the key of stored features; raise it when their numbers change."""
UNIT = 1024  # photos of one file: what is lost when a run is killed
BATCH = 64


@dataclass(frozen=True)
class View:
    """How a photo is seen: the shorter side to ``resize``, the centre ``size`` x ``size`` of that.

    ``amp`` is the arithmetic of the network: none (float32), bfloat16 or float16.
    """

    size: int = 224
    resize: int = 256
    amp: str = "none"

    @property
    def crop(self) -> transforms.TestCrop:
        """The crop itself."""
        return transforms.TestCrop(self.size, self.resize)


class _Read(NamedTuple):
    sha256: str
    pixels: transforms.Pixels | None
    why: str


def key(backbone_sha256: str, split: Split, view: View, what: str = "features") -> str:
    """Names the stored outputs of one backbone on one list of photos."""
    identity = {"version": VERSION, "what": what, "backbone": backbone_sha256, **asdict(view)}
    text = json.dumps({**identity, "photos": split.listing()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def cache_folder(cache: Path | None) -> Iterator[Path]:
    """``cache`` on every process, or a folder that is gone afterwards."""
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="transfer-") as own:
        yield Path(dist.broadcast_object(own))
        dist.barrier()


def outputs(network: Network, split: Split, view: View, place: Path, *, threads: int, what: str) -> None:
    """Let all processes together make the files of a split's outputs below ``place`` that are not there.

    Units are the same for any number of processes, so every photo is answered once, in the same batch.
    """
    mine = list(range(0, len(split), UNIT))[dist.rank() :: dist.world_size()]
    todo = [first for first in mine if stored.load(_file(place, first), _unit_rows(split, first)) is None]
    if len(todo) < len(mine) and dist.is_main():
        log.get("transfer").info(
            "%s: %d of %d files lie in %s", what, len(mine) - len(todo), len(mine), place
        )
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for place_in_line, first in enumerate(todo, 1):
            told = f"{what}, file {place_in_line}/{len(todo)}, batches"
            rows = _unit_rows(split, first)
            _unit(network, split, rows, view, pool=pool, told=told).store(_file(place, first))
    dist.barrier()


def load(split: Split, place: Path) -> Outputs:
    """What ``outputs`` made, together."""
    parts = []
    for first in range(0, len(split), UNIT):
        found = stored.load(_file(place, first), _unit_rows(split, first))
        if found is None:
            raise DataError(f"{_file(place, first)} is missing or damaged; give the same command again")
        parts.append(found)
    return stored.joined(parts)


def _unit_rows(split: Split, first: int) -> range:
    return range(first, min(first + UNIT, len(split)))


def _unit(
    network: Network, split: Split, rows: range, view: View, *, pool: ThreadPoolExecutor, told: str
) -> Outputs:
    def begin(first: int) -> list[Future[_Read]]:
        return [pool.submit(_read, split, row, view.crop) for row in rows[first : first + BATCH]]

    found: list[NDArray[np.float32]] = []
    hashes: list[str] = []
    unreadable: dict[int, str] = {}
    ahead = begin(0)
    starts = range(0, len(rows), BATCH)
    for first in log.progress(starts, len(starts), told):
        waiting, ahead = ahead, begin(first + BATCH)
        read = [future.result() for future in waiting]
        hashes += [one.sha256 for one in read]
        unreadable |= {rows[first + i]: one.why for i, one in enumerate(read) if one.pixels is None}
        # A photo that is not there is black, so that every batch has its size on every run.
        blank = np.zeros((view.size, view.size, 3), dtype=np.uint8)
        batch = np.stack([blank if one.pixels is None else one.pixels for one in read])
        answers = network.answer(batch, view.amp)
        answers[[i for i, one in enumerate(read) if one.pixels is None]] = 0
        found.append(answers)
    return Outputs(np.array(rows, dtype=np.int64), np.concatenate(found), hashes, unreadable)


def _read(split: Split, row: int, crop: transforms.TestCrop) -> _Read:
    digest = ""
    try:
        data = split.read(row)
        digest = hashlib.sha256(data).hexdigest()
        return _Read(digest, folders.pixels(data, crop), "")
    except BadImage as rejected:
        return _Read(digest, None, str(rejected))


def _file(place: Path, first: int) -> Path:
    return place / f"{first:012d}.npz"
