"""Compiled counting of hashtags in JSON lines; whatever is unusual is left to the readable path.

A line is taken only when it is sure to be read as ``posts.from_record`` and ``tags.in_caption``
read it; otherwise it is reported, and Python reads it. So this may be narrow (flat objects, few
escapes), but never different.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.vocabulary.scan_json import FAST, SLOW, Bytes, Names, Numbers, find_hashtags
from pretrain.vocabulary.scan_text import find_tags
from wsl_det.core.compiled import compiled

LONGEST_LINE = 1 << 20
MOST_BYTES = 4 << 20


class Memory(NamedTuple):
    """Hashtags met so far, by spelling; an entry is a row number."""

    table: NDArray[np.int32]  # open addressing, entry or -1; its length is a power of 2
    hashes: NDArray[np.uint64]  # (entries,)
    starts: Numbers  # (entries + 1,) where each spelling starts in the arena
    arena: Bytes


class Found(NamedTuple):
    """What a scan found: hashtags, and per post the number of hashtags up to its end."""

    tags: Numbers  # (tags, 2) start and stop in the block
    ends: Numbers  # (posts,)
    slow: Numbers  # (lines, 3) start, end and number of each line that Python must read


class Counts(NamedTuple):
    """What entries mean, and the counts that grow: uses by entry, posts by class."""

    meaning: NDArray[np.int32]  # (entries,) -1: nothing
    class_of: NDArray[np.int32]  # (meanings,)
    uses: Numbers  # (entries,)
    carriers: Numbers  # (classes,) posts
    stamps: Numbers  # (classes,) the last post that was counted


@compiled
def scan(block: Bytes, first: int, names: Names, kinds: Bytes, found: Found) -> tuple[int, int, int, int]:
    """Scan whole lines of ``block``, sound UTF-8, from byte ``first`` on.

    ``kinds`` is ``tags.character_kinds()``. Returns where it stopped, lines seen, posts found and
    lines left to Python; stops after ``MOST_BYTES`` or when ``found`` has no room for another line.
    """
    # Taking an array out of a tuple costs as much as reading a hashtag: once is enough.
    tags, ends, slow = found.tags, found.ends, found.slow
    position, lines, posts, num_slow, num_tags = first, 0, 0, 0, 0
    span = np.zeros(5, np.int64)
    span[4] = names.separator
    while position < len(block) and position - first < MOST_BYTES:
        if posts >= len(ends) or num_slow >= len(slow):
            break
        kind = find_hashtags(block, position, names.text, names.ends, span)
        end = span[3]
        if kind == FAST and end - position > LONGEST_LINE:
            kind = SLOW
        if kind == FAST:
            if num_tags + (span[1] - span[0]) // 2 + 2 > len(tags):
                break
            after = find_tags(block, span, kinds, tags, num_tags)
            if after < 0:
                kind = SLOW
            else:
                num_tags = after
                ends[posts] = num_tags
                posts += 1
        if kind == SLOW:
            slow[num_slow, 0], slow[num_slow, 1], slow[num_slow, 2] = position, end, lines
            num_slow += 1
        lines += 1
        position = end + 1
    return min(position, len(block)), lines, posts, num_slow


@compiled
def remember(block: Bytes, tags: Numbers, memory: Memory, size: int, entries: NDArray[np.int32]) -> int:
    """Find, or make, the entry of every hashtag: by its small letters and digits when it is ASCII.

    ``memory`` holds ``size`` entries and must have room for all; returns the new size.
    """
    table, hashes, starts, arena = memory.table, memory.hashes, memory.starts, memory.arena
    mask = np.uint64(len(table) - 1)
    for number in range(len(tags)):
        begin = starts[size]
        end, value = _spell(block, tags[number, 0], tags[number, 1], arena, begin)
        slot = value & mask
        entry = table[slot]
        while entry >= 0:
            if hashes[entry] == value and _same(arena, starts[entry], starts[entry + 1], begin, end):
                break
            slot = (slot + np.uint64(1)) & mask
            entry = table[slot]
        if entry < 0:
            entry = size
            table[slot] = entry
            hashes[entry] = value
            starts[entry + 1] = end
            size += 1
        entries[number] = entry
    return size


@compiled
def count(entries: NDArray[np.int32], ends: Numbers, serial: int, counts: Counts) -> tuple[int, int, int]:
    """Add the posts of one scan, before which ``serial`` posts were counted, to the counts.

    Returns hashtags with a meaning, posts with one, posts with hashtags.
    """
    meaning, class_of, uses = counts.meaning, counts.class_of, counts.uses
    carriers, stamps = counts.carriers, counts.stamps
    known, meant, tagged = 0, 0, 0
    start = 0
    for post in range(len(ends)):
        has_meaning = False
        for place in range(start, ends[post]):
            entry = entries[place]
            uses[entry] += 1
            if meaning[entry] >= 0:
                known += 1
                has_meaning = True
                group = class_of[meaning[entry]]
                # A post counts once for a class, however many of its synonyms it carries.
                if stamps[group] != serial + post:
                    stamps[group] = serial + post
                    carriers[group] += 1
        meant += has_meaning
        tagged += ends[post] > start
        start = ends[post]
    return known, meant, tagged


@compiled
def _spell(block: Bytes, start: int, stop: int, arena: Bytes, begin: int) -> tuple[int, np.uint64]:
    """Write the spelling a hashtag is known by to the arena; its end and its hash (FNV-1a)."""
    end = begin
    value = np.uint64(14695981039346656037)
    plain = True
    for k in range(start, stop):
        byte = block[k]
        plain = plain and byte < 128
        if 65 <= byte <= 90:
            byte += np.uint8(32)
        if 97 <= byte <= 122 or 48 <= byte <= 57:
            arena[end] = byte
            end += 1
            value = (value ^ np.uint64(byte)) * np.uint64(1099511628211)
    if not plain:
        # What other scripts make of case and marks is Python's to say: keep the hashtag as it is.
        end = begin
        for k in range(start, stop):
            arena[end] = block[k]
            end += 1
            value = (value ^ np.uint64(block[k])) * np.uint64(1099511628211)
    return end, value ^ (value >> np.uint64(29))


@compiled
def _same(arena: Bytes, first: int, last: int, begin: int, end: int) -> bool:
    if last - first != end - begin:
        return False
    for k in range(end - begin):  # noqa: SIM110 (numba has no all())
        if arena[first + k] != arena[begin + k]:
            return False
    return True
