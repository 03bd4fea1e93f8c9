"""Photos of shards at addresses: read by ranges, ahead of a known order, never another sample's.

The draws of a stream are neighbours in time, not in a tar. So they are read a stretch of the stream at a
time, in the order of the tars, neighbours with one request, and kept in the machine's cache until shown.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.shards.photo_cache import PhotoCache
from wsl_det.core import addresses, log, stores
from wsl_det.core.photos import BadImage
from wsl_det.errors import ConfigError, DataError, WslError

CACHE_GB = "WSL_DET_CACHE_GB"
HEADER = 512  # of a photo in its tar: what says whose it is
GAP = 1 << 18  # bytes between two photos that are read over rather than asked about
LARGEST = 2 << 20  # bytes of one request
THREADS = 32
_FIRST_STRETCH, _GROWTH = 8 << 20, 1.5
_TRIES = 3


class Span(NamedTuple):
    """A range of a tar that is one request, and the photos wanted of it."""

    shard: int
    start: int
    stop: int
    images: list[int]


class Places(NamedTuple):
    """Where the photos lie: arrays of the index, one row each."""

    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]

    def spans(self, images: NDArray[np.int64], largest: int = LARGEST) -> list[Span]:
        """The requests for ``images`` (each once, ascending, which is the order of the tars)."""
        found: list[Span] = []
        columns = (self.shard[images], self.offset[images], self.size[images])
        for image, shard, offset, size in zip(images.tolist(), *(c.tolist() for c in columns), strict=True):
            start, stop = max(0, offset - HEADER), offset + size
            last = found[-1] if found else None
            joined = last is not None and last.shard == shard and start - last.stop <= GAP
            if last is not None and joined and stop - last.start <= largest:
                last.images.append(image)
                found[-1] = last._replace(stop=max(stop, last.stop))
            else:
                found.append(Span(shard, start, stop, [image]))
        return found


@dataclass(eq=False)
class _Stretch:
    """Photos that are read together, and how many bytes of them nobody has taken yet."""

    left: int
    images: set[int] = field(default_factory=set)


def limit() -> int:
    """Bytes that the cache of photos may take, WSL_DET_CACHE_GB (20)."""
    text = os.environ.get(CACHE_GB, "20")
    try:
        found = float(text) * 1e9
    except ValueError:
        found = 0
    if not 1e6 <= found < 1e18:
        raise ConfigError(f"{CACHE_GB} is {text!r}; expected gigabytes, 0.001 or more")
    return int(found)


def stretch_bytes() -> int:
    """Bytes of photos that a process reads together: two of each of a machine fill half the cache."""
    return limit() // 4 // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Remote:
    """The photos of one data set at addresses; one object a process."""

    def __init__(
        self, name: str, tars: Sequence[str], told: Sequence[tuple[int | None, str]], places: Places,
        key: Callable[[int], str] | None,
    ) -> None:  # fmt: skip
        """``told`` are bytes and tag of the tars when they were indexed. ``key`` gives an image's key where
        members bear it."""
        self.name, self.tars, self.told, self.places, self.key = name, tars, told, places, key
        self.cache = PhotoCache(addresses.cache() / "photos", limit())
        self._checked: set[int] = set()
        self._waiting: dict[int, tuple[Future[None], _Stretch]] = {}
        self._room = threading.Condition()

    def read(self, image: int) -> bytes:
        """The photo, of the cache or of its tar.

        Raises BadImage for one that the store does not give, DataError for a tar that is gone or another.
        """
        with self._room:
            future, stretch = self._waiting.get(image, (None, None))
        try:
            if future is not None:
                with suppress(BadImage):  # of one of its neighbours, perhaps
                    future.result()
            data = self.cache.get(self._kept(image), int(self.places.size[image]))
            return data if data is not None else self._alone(image)
        finally:
            if stretch is not None:
                self._take(image, stretch)

    def _take(self, image: int, stretch: _Stretch) -> None:
        with self._room:
            if image in stretch.images:
                stretch.images.discard(image)
                stretch.left -= int(self.places.size[image])
                self._waiting.pop(image, None)
                self._room.notify_all()

    def _alone(self, image: int) -> bytes:
        for _ in range(_TRIES):
            found = self._span(self.places.spans(np.array([image]))[0])
            if image in found:
                return found[image]
        raise BadImage("the store gives other bytes than this photo's")

    def _kept(self, image: int) -> str:
        return f"{self.name[:16]}/{image}"

    def _span(self, span: Span) -> dict[int, bytes]:
        """The photos of a request that are those asked for, kept in the cache."""
        self._check(span.shard)
        try:
            data = stores.read(self.tars[span.shard], span.start, span.stop)
        except stores.Broken as error:
            raise BadImage(f"not read ({error})") from None
        found = {}
        for image in span.images:
            offset, size = int(self.places.offset[image]), int(self.places.size[image])
            at = offset - span.start
            if self._is_of(image, data[max(0, at - HEADER) : at], size):
                found[image] = data[at : at + size]
        self.cache.put([(self._kept(image), photo) for image, photo in found.items()])
        return found

    def _is_of(self, image: int, header: bytes, size: int) -> bool:
        """Whether what stands before a photo in its tar says that it is this one."""
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return False
        return member.size == size and (self.key is None or member.name == f"{self.key(image)}.jpg")

    def _check(self, shard: int) -> None:
        """Raise DataError for a tar that is not the one that was indexed."""
        if shard in self._checked:
            return
        (size, tag), address = self.told[shard], self.tars[shard]
        found = stores.info(address)
        if (size is not None and found.size != size) or (tag and found.tag and found.tag != tag):
            told = f"{size:,} bytes, tag {tag or 'not known'}" if size is not None else f"tag {tag}"
            raise DataError(
                f"shard {address} has {found.size:,} bytes and the tag {found.tag}, {told} when it was "
                "indexed: it was changed; build or index the shards again"
            )
        self._checked.add(shard)

    @contextmanager
    def ahead(self, order: Iterable[NDArray[np.int64]]) -> Iterator[None]:
        """Inside the block what ``order`` names is read ahead, batch by batch, as far as the cache allows."""
        ended = threading.Event()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ranges")
        planner = threading.Thread(target=self._plan, args=(order, pool, ended), daemon=True)
        planner.start()
        try:
            yield
        finally:
            with self._room:
                ended.set()
                self._room.notify_all()
            planner.join()
            pool.shutdown(wait=False, cancel_futures=True)
            self._waiting.clear()

    def _plan(
        self, order: Iterable[NDArray[np.int64]], pool: ThreadPoolExecutor, ended: threading.Event
    ) -> None:
        # Several processes share the cache, and what was read ahead must not push itself out.
        most, largest, begun = 2 * stretch_bytes(), float(_FIRST_STRETCH), list[_Stretch]()
        try:
            batch, size = list[int](), 0
            for images in order:
                batch += images.tolist()
                size += int(self.places.size[images].sum())
                if size < min(largest, most / 2):
                    continue
                begun.append(self._begin(batch, pool))
                batch, size, largest = [], 0, largest * _GROWTH
                with self._room:
                    while not ended.is_set() and sum(stretch.left for stretch in begun) > most / 2:
                        self._room.wait()
                    begun = [stretch for stretch in begun if stretch.left]
                if ended.is_set():
                    return
            self._begin(batch, pool)
        except (WslError, OSError, RuntimeError) as error:
            if not ended.is_set():
                log.get("cache").warning("photos are not read ahead any more: %s", error)

    def _begin(self, batch: Sequence[int], pool: ThreadPoolExecutor) -> _Stretch:
        with self._room:
            wanted = {image for image in batch if image not in self._waiting}
        wanted = {image for image in wanted if not self.cache.has(self._kept(image))}
        images = np.array(sorted(wanted), dtype=np.int64)
        stretch = _Stretch(int(self.places.size[images].sum()), wanted)
        for span in self.places.spans(images, min(LARGEST, self.cache.limit // 64)):
            with self._room:
                future: Future[None] = pool.submit(self._fetch, span)
                self._waiting |= dict.fromkeys(span.images, (future, stretch))
        return stretch

    def _fetch(self, span: Span) -> None:
        self._span(span)


def open_remote(
    name: str,
    tars: Sequence[str | Path],
    told: Sequence[tuple[int | None, str]],
    places: Places,
    key: Callable[[int], str] | None,
) -> Remote | None:
    """The photos of tars at addresses; None where they lie on the disk."""
    if not any(addresses.is_address(tar) for tar in tars):
        return None
    return Remote(name, [addresses.text(tar) for tar in tars], told, places, key)
