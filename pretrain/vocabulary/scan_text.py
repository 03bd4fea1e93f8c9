"""Compiled finding of hashtags in captions and lists, as ``pretrain.vocabulary.hashtags`` finds them.

Bytes are compared as numbers: 35 is #, 38 is &, 92 is backslash. A negative result means that Python
must read the text, because something in it is rare (a # after a slash, a # spelled as an escape).
"""

from __future__ import annotations

import numpy as np

from pretrain.vocabulary.scan_json import (
    AUTO_SEPARATOR,
    CAPTION,
    LISTED,
    Bytes,
    Numbers,
    hex_digit,
    string_stop,
)
from wsl_det.core.compiled import compiled

# Of hashtags.py; numba takes them as constants.
_NOTHING, _LETTER, _MARK, _KNOWN = 0, 1, 3, 0x20000
_SIGN = 0xFF03  # the full-width #
# One look-up a byte: what opens a hashtag, an escape or a URL, as bytes of a caption; what ASCII goes on
# with a hashtag (1: a letter, 2: another), 3 for bytes of other scripts.
_IN_CAPTION = np.array([byte in (35, 46, 47, 92, 0xEF) for byte in range(256)])
_IN_TAG = np.array(
    [1 if chr(b).isalpha() else 2 if chr(b).isdigit() or b == 95 else 0 for b in range(128)] + [3] * 128,
    np.uint8,
)


@compiled
def is_utf8(block: Bytes) -> bool:
    """Whether bytes are sound UTF-8, as Python decodes it: no surrogates, nothing longer than needed."""
    p = 0
    while p < len(block):
        if block[p] < 0x80:
            p += 1
            continue
        size = 2 if block[p] < 0xE0 else 3 if block[p] < 0xF0 else 4
        if block[p] < 0xC2 or block[p] > 0xF4 or p + size > len(block):
            return False
        for k in range(p + 1, p + size):
            if not 0x80 <= block[k] < 0xC0:
                return False
        code = _code_point(block, p)[0]
        if code < (0x80, 0x800, 0x10000)[size - 2] or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            return False
        p += size
    return True


@compiled
def find_tags(block: Bytes, span: Numbers, kinds: Bytes, tags: Numbers, num_tags: int) -> int:
    """Append start and stop of every hashtag in ``span`` (see ``scan_json``); the new number of tags."""
    if span[2] == CAPTION:
        return _of_caption(block, span, kinds, tags, num_tags)
    if span[2] == LISTED:
        return _of_list(block, span, kinds, tags, num_tags)
    return _of_array(block, span, tags, num_tags)


@compiled
def _of_caption(block: Bytes, span: Numbers, kinds: Bytes, tags: Numbers, num_tags: int) -> int:
    in_url = False  # a slash or www. stands in the run of printable ASCII that p is in
    p, stop = span[0], span[1]
    while p < stop:
        while not in_url and p < stop and not _IN_CAPTION[block[p]]:
            p += 1
        if p == stop:
            break
        byte = block[p]
        if byte == 35 or (byte == 0xEF and _is_sign(block, p)):
            # &#39; is no hashtag, nor is what follows # in a URL; Python knows better where one ends.
            if in_url or block[p - 1] == 38:
                return -1
            start = p + (1 if byte == 35 else 3)
            p, letter = _tag(block, start, stop, kinds)
            if p < 0:
                return -1
            if letter:
                num_tags = _append(start, p, tags, num_tags)
        elif byte == 92:
            code = _escaped(block, p + 1)
            if code < 0:
                return -1
            in_url = code == 1 or (code == 0 and in_url)
            p += 6 if block[p + 1] == 117 else 2
        else:
            in_url = byte == 47 or (byte == 46 and _www(block, p)) or (in_url and 32 < byte < 127)
            p += 1
    return num_tags


@compiled
def _is_sign(block: Bytes, p: int) -> bool:
    return block[p] == 0xEF and block[p + 1] == 0xBC and block[p + 2] == 0x83


@compiled
def _tag(block: Bytes, start: int, stop: int, kinds: Bytes) -> tuple[int, bool]:
    """The byte after the hashtag that starts at ``start`` (-1: ask Python), and whether it has a letter."""
    p, letter = start, False
    while p < stop:
        ascii_kind = _IN_TAG[block[p]]
        if ascii_kind == 0:
            break
        if ascii_kind < 3:
            letter = letter or ascii_kind == 1
            p += 1
            continue
        code, size = _code_point(block, p)
        if code >= _KNOWN:
            return -1, False
        kind = kinds[code]
        if kind == _NOTHING or (kind == _MARK and p == start):
            break
        letter = letter or kind == _LETTER
        p += size
    # A letter spelled as an escape would go on with the hashtag.
    if p < stop and block[p] == 92 and block[p + 1] == 117:
        return -1, False
    return p, letter


@compiled
def _code_point(block: Bytes, p: int) -> tuple[int, int]:
    """The character at ``p`` in sound UTF-8, and its number of bytes."""
    byte = int(block[p])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        return ((byte & 31) << 6) | int(block[p + 1] & 63), 2
    if byte < 0xF0:
        return ((byte & 15) << 12) | (int(block[p + 1] & 63) << 6) | int(block[p + 2] & 63), 3
    high = ((byte & 7) << 18) | (int(block[p + 1] & 63) << 12)
    return high | (int(block[p + 2] & 63) << 6) | int(block[p + 3] & 63), 4


@compiled
def _escaped(block: Bytes, p: int) -> int:
    """0: a character of no account; 1: a slash; 2: white space; -1: Python must see it."""
    byte = block[p]
    if byte == 117:
        code = (hex_digit(block[p + 1]) << 12) + (hex_digit(block[p + 2]) << 8)
        code += (hex_digit(block[p + 3]) << 4) + hex_digit(block[p + 4])
        return -1 if code < 256 or code == _SIGN else 0
    if byte == 47:
        return 1
    return 0 if byte in (34, 92) else 2


@compiled
def _www(block: Bytes, p: int) -> bool:
    return block[p - 1] == 119 and block[p - 2] == 119 and block[p - 3] == 119


@compiled
def _of_list(block: Bytes, span: Numbers, kinds: Bytes, tags: Numbers, num_tags: int) -> int:
    p, stop, first, second = span[0], span[1], span[4], span[4]
    ascii_only = True
    if first == AUTO_SEPARATOR:
        first, second = 32, 32
    for k in range(p, stop):
        if span[4] == AUTO_SEPARATOR and block[k] in (59, 44):
            first, second = 59, 44
        ascii_only = ascii_only and block[k] < 128
    if first == 32 and not ascii_only:
        return -1  # other scripts have spaces of their own
    while p <= stop:
        end = p
        while end < stop and block[end] != first and block[end] != second:
            end += 1
        start, last = _trimmed(block, p, end)
        if start < last:
            if not (_plain_start(block, start, kinds) and _plain_end(block, last, kinds)):
                return -1
            num_tags = _append(start, last, tags, num_tags)
        p = end + 1
    return num_tags


@compiled
def _trimmed(block: Bytes, start: int, last: int) -> tuple[int, int]:
    while start < last and block[start] == 32:
        start += 1
    while last > start and block[last - 1] == 32:
        last -= 1
    while start < last and block[start] == 35:
        start += 1
    return start, last


@compiled
def _plain_start(block: Bytes, p: int, kinds: Bytes) -> bool:
    code = _code_point(block, p)[0]
    return code < 128 or (code < _KNOWN and kinds[code] != _NOTHING)


@compiled
def _plain_end(block: Bytes, stop: int, kinds: Bytes) -> bool:
    p = stop - 1
    while 128 <= block[p] < 192:
        p -= 1
    return _plain_start(block, p, kinds)


@compiled
def _of_array(block: Bytes, span: Numbers, tags: Numbers, num_tags: int) -> int:
    p, stop = span[0], span[1]
    while p < stop:
        if block[p] != 34:
            p += 1
            continue
        start = p + 1
        end = string_stop(block, p) - 1
        content = False
        for k in range(start, end):
            if _is_sign(block, k):
                return -1
            content = content or (block[k] != 35 and block[k] != 32)
        if content:
            num_tags = _append(start, end, tags, num_tags)
        p = end + 1
    return num_tags


@compiled
def _append(start: int, stop: int, tags: Numbers, num_tags: int) -> int:
    tags[num_tags, 0], tags[num_tags, 1] = start, stop
    return num_tags + 1
