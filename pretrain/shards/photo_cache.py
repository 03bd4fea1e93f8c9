"""A folder of photos that the processes of a machine share: it never grows beyond its limit, whoever dies."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from wsl_det.core import log

_BLOCK = 4096  # of a file system: what a file takes is a multiple of it
_KEPT = 0.8  # of the limit after room was made
_ABANDONED_S = 600.0
_TOTAL = ".total"


class PhotoCache:
    """Photos by name, the oldest removed when ``limit`` bytes are reached.

    What is about to be written is counted first, in a file that all processes lock: whoever is killed leaves
    too much counted, which the next one to make room puts right.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._number, self._told = itertools.count(), False
        folder.mkdir(parents=True, exist_ok=True)
        with self._counted():
            self._make_room(self.limit)

    def get(self, name: str, size: int) -> bytes | None:
        """The photo of that name and size, if it is there whole."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError:
            return None
        return data if len(data) == size else None

    def has(self, name: str) -> bool:
        """Whether there is such a photo."""
        return (self.folder / name).is_file()

    def put(self, photos: Sequence[tuple[str, bytes]]) -> None:
        """Keep photos; a disk that is full or gone is told of once, and nothing is kept."""
        needed = sum(_taken(len(data)) for _, data in photos)
        if needed > self.limit * (1 - _KEPT):
            return
        try:
            with self._counted() as total:
                if total[0] + needed > self.limit:
                    total[0] = self._make_room(int(self.limit * _KEPT))
                total[0] += needed
            for name, data in photos:
                self._write(name, data)
        except OSError as error:
            if not self._told:
                log.get("cache").warning("photos cannot be kept in %s (%s)", self.folder, error.strerror)
            self._told = True

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        scratch = self.folder / f".{os.getpid()}.{threading.get_ident()}.{next(self._number)}"
        try:
            scratch.write_bytes(data)
            path.parent.mkdir(exist_ok=True)
            os.replace(scratch, path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise

    @contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """The bytes that are taken, alone with them."""
        with open(self.folder / _TOTAL, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the kernel frees it
            file.seek(0)
            text = file.read().strip()
            total = [int(text) if text.isdigit() else self._make_room(self.limit)]
            yield total
            file.truncate(0)
            file.write(b"%d" % total[0])

    def _make_room(self, most: int) -> int:
        """Remove the oldest photos until all take at most ``most`` bytes; how many they take."""
        found: list[tuple[float, int, str]] = []
        for folder in (self.folder, *(path for path in self.folder.iterdir() if path.is_dir())):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        if entry.is_file() and entry.name != _TOTAL:
                            status = entry.stat()
                            found.append((status.st_mtime, _taken(status.st_size), entry.path))
        total, now = sum(size for _, size, _ in found), time.time()
        for written, size, path in sorted(found):
            left = os.path.basename(path).startswith(".")
            if (total > most and not left) or (left and now - written > _ABANDONED_S):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size
        return total


def _taken(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
