"""Which ids came before, at eight bytes each, so that a billion posts fit a machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 20


class Seen:
    """A growing set of strings, kept as 64-bit hashes.

    Two of n strings are taken for one with probability n^2 / 2^65: 3% at a billion.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: list[NDArray[np.uint64]] = []  # each longer than the next

    def add(self, text: str) -> bool:
        """Whether ``text`` is new; it is remembered."""
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if number in self._recent or any(_holds(part, number) for part in self._sorted):
            return False
        self._recent.add(number)
        if len(self._recent) >= _RECENT:
            self._settle()
        return True

    def _settle(self) -> None:
        part = np.sort(np.fromiter(self._recent, np.uint64, len(self._recent)))
        self._recent.clear()
        # Merging equals keeps the parts few and every number is moved only log n times.
        while self._sorted and len(self._sorted[-1]) <= len(part):
            part = np.sort(np.concatenate([self._sorted.pop(), part]))
        self._sorted.append(part)


def _holds(part: NDArray[np.uint64], number: int) -> bool:
    place = int(np.searchsorted(part, np.uint64(number)))
    return place < len(part) and int(part[place]) == number
