"""Compiled reading of one flat JSON object: where its caption or hashtags lie, when all is plain.

Bytes are compared as numbers: 34 is ", 92 is backslash. Anything that is not sure to be read as
Python's json reads it is refused, and Python reads the line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsl_det.core.compiled import compiled

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

FAST, SLOW, EMPTY = 0, 1, 2
CAPTION, LISTED, ARRAY = 1, 2, 3  # what a line's hashtags are in
AUTO_SEPARATOR = 0
_ID, _CAPTION, _HASHTAGS, _OTHER = 0, 1, 2, 3
_BAD, _PLAIN, _ESCAPED, _LIST, _INTEGER, _SCALAR = 0, 1, 2, 3, 4, 5
# One look-up a byte instead of three comparisons: what may end a string, or need a second look.
_IN_STRING = np.array([byte < 32 or byte in (34, 92) for byte in range(256)])
_LONGEST_NUMBER = 300  # Python refuses integers of thousands of digits


class Names(NamedTuple):
    """The names of the columns id, caption, hashtags, one after the other, and where each ends."""

    text: Bytes
    ends: Numbers  # (3,)
    separator: int


@compiled
def find_hashtags(block: Bytes, start: int, text: Bytes, ends: Numbers, span: Numbers) -> int:
    """Read the line at ``start``: FAST, SLOW or EMPTY; the end of the line goes to span[3].

    FAST puts start, stop and kind of the text that holds the hashtags into span[:3]. ``text`` and
    ``ends`` are of ``Names``.
    """
    p = skip_space(block, start)
    kind = SLOW
    if p == len(block) or block[p] == 10:
        kind = EMPTY
    elif block[p] == 123:
        p, kind = _object(block, p, text, ends, span)
    while p < len(block) and block[p] != 10:
        p += 1
    span[3] = p
    return kind


@compiled
def _object(block: Bytes, p: int, text: Bytes, ends: Numbers, span: Numbers) -> tuple[int, int]:
    """A byte of the same line, and FAST when an object ends it that is plain and has what is needed."""
    seen = 0  # bits: id, caption, hashtags
    more = True
    while more:
        key = skip_space(block, p + 1)
        stop, kind = _value(block, key)
        p = skip_space(block, stop)
        if kind != _PLAIN or p >= len(block) or block[p] != 58:
            return p, SLOW
        which = _which(block, key + 1, stop - 1, text, ends)
        value = skip_space(block, p + 1)
        stop, kind = _value(block, value)
        p = skip_space(block, stop)
        if kind == _BAD or p >= len(block) or not _usable(which, kind, stop - value):
            return min(stop, p), SLOW
        if which != _OTHER:
            if seen & (1 << which):
                return p, SLOW
            seen |= 1 << which
            # A caption beside hashtags does not count, whichever comes first.
            if which == _HASHTAGS or (which == _CAPTION and not seen & (1 << _HASHTAGS)):
                _note(kind, value, stop, which == _CAPTION, span)
        more = block[p] == 44
    if block[p] != 125 or not seen & 1 or not seen & 6:
        return p, SLOW
    p = skip_space(block, p + 1)
    return p, FAST if p == len(block) or block[p] == 10 else SLOW


@compiled
def skip_space(block: Bytes, p: int) -> int:
    """The first byte from ``p`` on that is no JSON white space, or a new line."""
    while p < len(block) and (block[p] == 32 or block[p] == 9 or block[p] == 13):
        p += 1
    return p


@compiled
def string_stop(block: Bytes, p: int) -> int:
    """The byte after the sound string that opens at ``p``."""
    return _string(block, p)[0]


@compiled
def hex_digit(byte: int) -> int:
    """The value of a hexadecimal digit; -1 when it is none."""
    if 48 <= byte <= 57:
        return byte - 48
    if 97 <= byte <= 102:
        return byte - 87
    if 65 <= byte <= 70:
        return byte - 55
    return -1


@compiled
def _usable(which: int, kind: int, size: int) -> bool:
    if which == _ID:
        return (kind == _PLAIN and size > 2) or kind == _INTEGER
    if which == _CAPTION:
        return kind in (_PLAIN, _ESCAPED)
    if which == _HASHTAGS:
        return kind in (_PLAIN, _LIST)
    return kind != _LIST


@compiled
def _note(kind: int, value: int, stop: int, caption: bool, span: Numbers) -> None:
    inner = 0 if kind == _LIST else 1  # without the quotes
    span[0], span[1] = value + inner, stop - inner
    span[2] = CAPTION if caption else (ARRAY if kind == _LIST else LISTED)


@compiled
def _value(block: Bytes, p: int) -> tuple[int, int]:
    """The byte after the value at ``p`` and its kind."""
    if p >= len(block):
        return p, _BAD
    if block[p] == 34:
        return _string(block, p)
    if block[p] == 91:
        return _strings(block, p)
    if block[p] < 65:
        return _number(block, p)
    return _word(block, p)


@compiled
def _string(block: Bytes, p: int) -> tuple[int, int]:
    kind = _PLAIN
    p += 1
    while True:
        while p < len(block) and not _IN_STRING[block[p]]:
            p += 1
        if p == len(block) or block[p] < 32:
            return p, _BAD
        if block[p] == 34:
            return p + 1, kind
        kind = _ESCAPED
        size = _escape(block, p + 1)
        if size == 0:
            return p, _BAD
        p += size + 1


@compiled
def _escape(block: Bytes, p: int) -> int:
    """Bytes of the escape after a backslash; 0 when it is none."""
    if p >= len(block):
        return 0
    if block[p] != 117:
        return 1 if block[p] in (34, 92, 47, 98, 102, 110, 114, 116) else 0
    if p + 4 >= len(block):
        return 0
    for k in range(p + 1, p + 5):
        if hex_digit(block[k]) < 0:
            return 0
    return 5


@compiled
def _strings(block: Bytes, p: int) -> tuple[int, int]:
    """A list of strings without escapes."""
    p = skip_space(block, p + 1)
    if p < len(block) and block[p] == 93:
        return p + 1, _LIST
    while p < len(block) and block[p] == 34:
        stop, kind = _string(block, p)
        if kind != _PLAIN:
            break
        p = skip_space(block, stop)
        if p < len(block) and block[p] == 93:
            return p + 1, _LIST
        if p >= len(block) or block[p] != 44:
            break
        p = skip_space(block, p + 1)
    return p, _BAD


@compiled
def _number(block: Bytes, p: int) -> tuple[int, int]:
    start, kind = p, _INTEGER
    if block[p] == 45:
        p += 1
    digits = p
    p = _digits(block, p)
    if p == digits or (block[digits] == 48 and p > digits + 1):
        return p, _BAD
    if p < len(block) and block[p] == 46:
        kind, digits = _SCALAR, p + 1
        p = _digits(block, digits)
        if p == digits:
            return p, _BAD
    if p < len(block) and block[p] in (101, 69):
        kind, digits = _SCALAR, p + 1
        if digits < len(block) and block[digits] in (43, 45):
            digits += 1
        p = _digits(block, digits)
        if p == digits:
            return p, _BAD
    return p, kind if p - start <= _LONGEST_NUMBER else _BAD


@compiled
def _digits(block: Bytes, p: int) -> int:
    while p < len(block) and 48 <= block[p] <= 57:
        p += 1
    return p


@compiled
def _word(block: Bytes, p: int) -> tuple[int, int]:
    for word in (b"true", b"null", b"false"):
        if p + len(word) <= len(block):
            same = True
            for k in range(len(word)):
                same = same and block[p + k] == word[k]
            if same:
                return p + len(word), _SCALAR
    return p, _BAD


@compiled
def _which(block: Bytes, start: int, stop: int, text: Bytes, ends: Numbers) -> int:
    begin = 0
    for which in range(len(ends)):
        if ends[which] - begin == stop - start:
            same = True
            for k in range(stop - start):
                same = same and block[start + k] == text[begin + k]
            if same:
                return which
        begin = ends[which]
    return _OTHER
