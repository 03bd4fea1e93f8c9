"""Counting hashtags in blocks of JSON lines at the speed of memory, with the same result as one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pretrain.posts.records import Columns
from pretrain.posts.tags import character_kinds
from pretrain.vocabulary import scan_kernel as kernel
from pretrain.vocabulary.hashtags import Resolved, Resolver, Unknown, canonical
from pretrain.vocabulary.scan_json import AUTO_SEPARATOR, Names
from pretrain.vocabulary.scan_text import is_utf8
from pretrain.vocabulary.tally import Frequent, Tally

N = TypeVar("N", bound=np.generic)
_ENTRIES = 1 << 20  # hashtags remembered
_TAGS = 3 << 18  # hashtags of one scan: fewer than are remembered, more than a line holds
_POSTS = 1 << 18
_SLOW = 1 << 18
_MOST_TEXT = kernel.MOST_BYTES + kernel.LONGEST_LINE
_ARENA = 4 * _MOST_TEXT
_UNKNOWN, _EXCLUDED = -1, -2  # meanings of hashtags without one


class Scanner:
    """Counts what the hashtags of JSON lines mean.

    Hashtags are remembered by their canonical spelling, so each is resolved once; the memory is
    emptied when it is full, so it does not grow with the corpus.
    """

    def __init__(self, resolver: Resolver, columns: Columns) -> None:
        self._resolver = resolver
        names = [name.encode() for name in (columns.id, columns.caption, columns.hashtags)]
        text = np.frombuffer(b"".join(names), np.uint8)
        self._separator = _separator(columns)
        self._names = Names(text, np.cumsum([len(name) for name in names]), self._separator)
        self._kinds = np.frombuffer(character_kinds(), np.uint8)
        self._found = kernel.Found(
            np.empty((_TAGS, 2), np.int64), np.empty(_POSTS, np.int64), np.empty((_SLOW, 3), np.int64)
        )
        self._entries = np.empty(_TAGS, np.int32)
        self._serial = 0
        self._meanings: dict[Resolved, int] = {}
        self._uses: dict[int, int] = {}  # by meaning, of hashtags that are no longer remembered
        self._classes: dict[tuple[int, ...], int] = {}
        self._tally = Tally()
        self._class_of: NDArray[np.int32] = np.empty(1024, np.int32)
        self._carriers: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._stamps: NDArray[np.int64] = np.full(1024, -1, np.int64)
        self._memory = _empty_memory()
        self._meaning = np.full(_ENTRIES, -1, np.int32)
        self._entry_uses = np.zeros(_ENTRIES, np.int64)
        self._size = 0

    @property
    def usable(self) -> bool:
        """Whether the kernel can read such columns at all."""
        return self._separator >= 0 and len(set(np.diff(self._names.ends, prepend=0)) & {0}) == 0

    def feed(self, block: bytes) -> tuple[int, list[tuple[int, bytes]]]:
        """Count whole lines; returns their number and those that Python must read, numbered from 0."""
        buffer = np.frombuffer(block, np.uint8)
        if not is_utf8(buffer):
            lines = block.removesuffix(b"\n").split(b"\n")
            return len(lines), list(enumerate(lines))
        position, seen = 0, 0
        left: list[tuple[int, bytes]] = []
        while position < len(buffer):
            position, num_lines, posts, num_slow = kernel.scan(
                buffer, position, self._names, self._kinds, self._found
            )
            self._count(buffer, posts)
            for start, end, number in self._found.slow[:num_slow].tolist():
                left.append((seen + number, block[start:end]))
            seen += num_lines
        return seen, left

    def finish(self) -> Tally:
        """The counts of all that was fed since the last time; what hashtags mean stays known."""
        self._settle()
        by_number = list(self._meanings)
        tally, self._tally = self._tally, Tally()
        tally.hashtags.update({by_number[number]: uses for number, uses in self._uses.items()})
        carriers = self._carriers.tolist()
        tally.classes.update({synsets: carriers[c] for synsets, c in self._classes.items() if carriers[c]})
        self._uses.clear()
        self._carriers[:] = 0
        return tally

    def _count(self, buffer: NDArray[np.uint8], posts: int) -> None:
        ends = self._found.ends[:posts]
        num_tags = int(ends[-1]) if posts else 0
        used = int(self._memory.starts[self._size])
        if self._size + num_tags > _ENTRIES or used + _MOST_TEXT > len(self._memory.arena):
            self._forget()
        tags, entries = self._found.tags[:num_tags], self._entries[:num_tags]
        before, self._size = self._size, kernel.remember(buffer, tags, self._memory, self._size, entries)
        self._resolve(before)
        counts = kernel.Counts(self._meaning, self._class_of, self._entry_uses, self._carriers, self._stamps)
        known, meant, tagged = kernel.count(entries, ends, self._serial, counts)
        self._serial += posts
        self._tally.posts += posts
        self._tally.tags += num_tags
        self._tally.known_tags += known
        self._tally.meant += meant
        self._tally.tagged += tagged

    def _resolve(self, before: int) -> None:
        """Give the hashtags that were met for the first time, entries from ``before`` on, a meaning."""
        starts = self._memory.starts[before : self._size + 1].tolist()
        text = self._memory.arena[starts[0] : starts[-1]].tobytes()
        for entry, (start, stop) in enumerate(itertools.pairwise(starts), before):
            meaning = self._resolver.read(text[start - starts[0] : stop - starts[0]].decode())
            if isinstance(meaning, Unknown):
                self._meaning[entry] = _EXCLUDED if meaning.excluded else _UNKNOWN
            else:
                self._meaning[entry] = self._number(meaning)

    def _number(self, meaning: Resolved) -> int:
        if meaning not in self._meanings:
            number = self._meanings[meaning] = len(self._meanings)
            group = self._classes.setdefault(meaning.synsets, len(self._classes))
            self._class_of = _room(self._class_of, number, 0)
            self._carriers = _room(self._carriers, group, 0)
            self._stamps = _room(self._stamps, group, -1)
            self._class_of[number] = group
        return self._meanings[meaning]

    def _settle(self) -> None:
        """Move the uses of remembered hashtags to those of their meanings, or to the tally."""
        meaning, uses = self._meaning[: self._size], self._entry_uses[: self._size]
        totals = np.zeros(len(self._meanings), np.int64)
        np.add.at(totals, meaning[meaning >= 0], uses[meaning >= 0])
        for number in np.flatnonzero(totals).tolist():
            self._uses[number] = self._uses.get(number, 0) + int(totals[number])
        used = uses > 0
        self._tally.excluded.update(self._spelled(np.flatnonzero(used & (meaning == _EXCLUDED))))
        unknown = used & (meaning == _UNKNOWN)
        # Two summaries: other scripts' spellings may be of one hashtag, and add up before any gives way.
        foreign = self._foreign()
        self._tally.unknown.add(self._most_used(np.flatnonzero(unknown & ~foreign)))
        self._tally.unknown.update(self._spelled(np.flatnonzero(unknown & foreign)))
        uses[:] = 0

    def _most_used(self, entries: NDArray[np.int64]) -> Frequent:
        """A summary of ASCII hashtags, made without spelling those that give way."""
        found = Frequent()
        uses = self._entry_uses[entries]
        if len(entries) > found.capacity:
            least = int(np.partition(uses, -found.capacity - 1)[-found.capacity - 1])
            entries, found.error = entries[uses > least], least
        found.update({tag: uses - found.error for tag, uses in self._spelled(entries).items()})
        return found

    def _foreign(self) -> NDArray[np.bool_]:
        """Which remembered hashtags are spelled with other bytes than ASCII."""
        starts = self._memory.starts[: self._size + 1]
        others = np.zeros(int(starts[-1]) + 1, np.int64)
        np.cumsum(self._memory.arena[: starts[-1]] > 127, out=others[1:])
        return np.diff(others[starts]) > 0

    def _spelled(self, entries: NDArray[np.int64]) -> Counter[str]:
        """Uses of remembered hashtags, by canonical spelling."""
        found: Counter[str] = Counter()
        starts, arena = self._memory.starts, self._memory.arena
        text = arena[: starts[self._size]].tobytes()
        rows = zip(
            starts[entries].tolist(),
            starts[entries + 1].tolist(),
            self._entry_uses[entries].tolist(),
            strict=True,
        )
        for start, stop, uses in rows:
            found[canonical(text[start:stop].decode())] += uses
        return found

    def _forget(self) -> None:
        """Empty the memory of hashtags."""
        self._settle()
        self._memory.table[:] = -1
        self._size = 0


def _empty_memory() -> kernel.Memory:
    return kernel.Memory(
        np.full(2 * _ENTRIES, -1, np.int32),
        np.empty(_ENTRIES, np.uint64),
        np.zeros(_ENTRIES + 1, np.int64),
        np.empty(_ARENA, np.uint8),
    )


def _separator(columns: Columns) -> int:
    if columns.separator is None:
        return AUTO_SEPARATOR
    return ord(columns.separator) if len(columns.separator) == 1 and columns.separator.isascii() else -1


def _room(array: NDArray[N], place: int, fill: int) -> NDArray[N]:
    if place < len(array):
        return array
    return np.concatenate([array, np.full(len(array), fill, array.dtype)])
