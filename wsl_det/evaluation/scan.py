"""A scanner for the JSON that COCO files are made of: rows of flat objects straight into columns.

Python objects for a hundred thousand detections cost seconds and hundreds of megabytes. The scanner
knows the handful of fields that evaluation reads and skips the rest. It answers only for rows in plain
form; at anything else it gives up, and the caller reads the file the slow way, which explains what is
wrong. Numbers are rounded as Python's ``float`` rounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.core.compiled import compiled

FIELDS = ("id", "image_id", "category_id", "iscrowd", "area", "score", "bbox", "segmentation")
IS_INTEGER = 4
"""The first so many fields are integers."""
ID, IMAGE_ID, CATEGORY_ID, ISCROWD, AREA, SCORE, BBOX, SEGMENTATION = (1 << i for i in range(len(FIELDS)))
_NAMES = np.array([list(name.encode().ljust(12)) for name in FIELDS], dtype=np.uint8)
_LENGTHS = np.array([len(name) for name in FIELDS])


@dataclass(frozen=True)
class Rows:
    """Columns of a list of objects.

    integers: (N, 4) int64 id, image_id, category_id, iscrowd. numbers: (N, 6) float64 area, score and
    the box. spans: (N, 2) int64 first and one past the last byte of the segmentation. present: (N,)
    int64 bit mask of the fields a row has. Absent values are 0. stop: the byte after the list.
    """

    integers: np.ndarray
    numbers: np.ndarray
    spans: np.ndarray
    present: np.ndarray
    stop: int


def rows(data: bytes, start: int = 0) -> Rows | None:
    """The list of objects that begins at byte ``start``, or None when it is not of the plain kind."""
    text = np.frombuffer(data, dtype=np.uint8)
    count, stop, present, integers, numbers, spans, slow = _rows(
        text, start, _NAMES, _LENGTHS, data.count(b"{", start) + 1
    )
    if count < 0:
        return None
    for row, column, first, last in slow:
        numbers[row, column] = float(data[first:last])
    return Rows(integers[:count], numbers[:count], spans[:count], present[:count], int(stop))


def sections(data: bytes) -> dict[str, tuple[int, int]] | None:
    """First and one past the last byte of each value of the object that is the whole text, by key."""
    count, found = _sections(np.frombuffer(data, dtype=np.uint8))
    if count < 0:
        return None
    spans = {data[a:b].decode("utf-8", "replace"): (int(c), int(d)) for a, b, c, d in found[:count]}
    # Which of two values counts is Python's business.
    return spans if len(spans) == count else None


@compiled
def _space(text, at):  # type: ignore[no-untyped-def]
    while at < len(text) and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
    return at


@compiled
def _string(text, at):  # type: ignore[no-untyped-def]
    """The byte after the string that begins at ``at``, or -1."""
    at += 1
    while at < len(text) and text[at] != 34:
        if text[at] < 32:
            return -1
        at += 2 if text[at] == 92 else 1
    return at + 1 if at < len(text) else -1


@compiled
def _skip(text, at):  # type: ignore[no-untyped-def]
    """The byte after the value that begins at ``at``, or -1; brackets must balance."""
    depth = 0
    while at < len(text):
        c = text[at]
        if c == 34:
            at = _string(text, at)
            if at < 0:
                return -1
        elif c in (91, 123):
            depth += 1
            at += 1
        elif c in (93, 125):
            if depth == 0:
                return -1
            depth -= 1
            at += 1
        elif depth == 0:
            while at < len(text) and (48 <= text[at] <= 57 or 97 <= text[at] <= 122 or text[at] == 43
                                      or text[at] == 45 or text[at] == 46 or text[at] == 69):  # fmt: skip
                at += 1
            return at
        else:
            at += 1
        if depth == 0:
            return at
    return -1


@compiled
def _number(text, at):  # type: ignore[no-untyped-def]
    """(value, byte after it, kind): kind 0 integer, 1 float, 2 float to be read by Python, -1 not plain."""
    begin = at
    negative = at < len(text) and text[at] == 45
    at += 1 if negative else 0
    mantissa, digits, scale = np.int64(0), 0, 0
    first = at
    while at < len(text) and 48 <= text[at] <= 57:
        mantissa = mantissa * 10 + (text[at] - 48) if digits < 18 else mantissa
        digits += 1 if digits > 0 or text[at] != 48 else 0
        at += 1
    if at == first or (text[first] == 48 and at > first + 1) or at >= len(text):
        return 0.0, begin, -1
    kind = 0
    if text[at] == 46:
        kind = 1
        at += 1
        first = at
        while at < len(text) and 48 <= text[at] <= 57:
            mantissa = mantissa * 10 + (text[at] - 48) if digits < 18 else mantissa
            digits += 1 if digits > 0 or text[at] != 48 else 0
            scale += 1
            at += 1
        if at == first or at >= len(text):
            return 0.0, begin, -1
    if text[at] == 69 or text[at] == 101:
        kind = 1
        at += 1
        down = at < len(text) and text[at] == 45
        at += 1 if at < len(text) and (text[at] == 45 or text[at] == 43) else 0
        first = at
        power = 0
        while at < len(text) and 48 <= text[at] <= 57 and power < 1000:
            power = power * 10 + (text[at] - 48)
            at += 1
        if at == first:
            return 0.0, begin, -1
        scale += power if down else -power
    if digits > 18 or scale < 0 or scale > 22:
        return 0.0, at, (2 if kind == 1 else -1)
    value, sure = _quotient(mantissa, scale)
    if not sure:
        return 0.0, at, 2
    return (-value if negative else value), at, kind


@compiled
def _quotient(mantissa, scale):  # type: ignore[no-untyped-def]
    """(mantissa / 10^scale rounded to nearest, whether that is certain) for 18 digits and scale <= 22.

    The quotient and what Dekker's exact product leaves over give it to twice the precision; only within
    1e-9 of a tie is the last bit in doubt.
    """
    high = np.float64(mantissa)
    low = np.float64(mantissa - np.int64(high))
    if scale == 0:
        return high, low == 0
    divisor = np.float64(1.0)
    for _ in range(scale):
        divisor *= 10.0  # exact up to 10^22
    quotient = high / divisor
    product = quotient * divisor
    split = 134217729.0
    c = split * quotient
    a_high = c - (c - quotient)
    a_low = quotient - a_high
    c = split * divisor
    b_high = c - (c - divisor)
    b_low = divisor - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    rest = ((high - product) - error + low) / divisor
    value = quotient + rest
    left = rest - (value - quotient)
    return value, value + left * (1 + 1e-9) == value


@compiled
def _field(text, first, last, names, lengths):  # type: ignore[no-untyped-def]
    """Which field the key between two bytes names, or -1."""
    for f in range(len(lengths)):
        if lengths[f] == last - first:
            same = True
            for i in range(lengths[f]):
                same = same and text[first + i] == names[f, i]
            if same:
                return f
    return -1


@compiled
def _value(text, at, field, row, columns, slow):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The byte after the value of a field, which goes to its column; -1 when it is not plain."""
    _, integers, numbers, spans = columns
    if field < 0 or field == 7:
        stop = _skip(text, at)
        if field == 7:
            spans[row, 0], spans[row, 1] = at, stop
        return stop if stop > at else -1
    column, count = (2, 4) if field == 6 else (field - 4, 1)
    if count == 4:
        if text[at] != 91:
            return -1
        at = _space(text, at + 1)
    for i in range(count):
        first = at
        value, at, kind = _number(text, at)
        # Integers pass through a double, which holds them exactly up to 2^53.
        if kind < 0 or (field < 4 and (kind != 0 or abs(value) > 9007199254740992.0)):
            return -1
        if field < 4:
            integers[row, field] = np.int64(value)
        else:
            numbers[row, column + i] = value
        if kind == 2:
            slow.append((row, column + i, first, at))
        if count == 4:
            at = _space(text, at)
            if at >= len(text) or text[at] != (93 if i == 3 else 44):
                return -1
            at = _space(text, at + 1)
    return at


@compiled
def _object(text, at, row, columns, names, lengths, slow):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The byte after the object that begins at ``at``, or -1."""
    present = columns[0]
    if at >= len(text) or text[at] != 123:
        return -1
    at = _space(text, at + 1)
    while at < len(text) and text[at] == 34:
        first = at + 1
        at = _string(text, at)
        field = _field(text, first, at - 1, names, lengths) if at > 0 else -1
        at = _space(text, at) if at > 0 else len(text)
        if at >= len(text) or text[at] != 58 or (field >= 0 and present[row] >> field & 1):
            return -1
        at = _space(text, at + 1)
        at = _value(text, at, field, row, columns, slow) if at < len(text) else -1
        at = _space(text, at) if at > 0 else len(text)
        if field >= 0:
            present[row] |= 1 << field
        if at >= len(text) or text[at] == 125:
            return at + 1 if at < len(text) else -1
        at = _space(text, at + 1) if text[at] == 44 else len(text)
    return -1


@compiled
def _rows(text, start, names, lengths, most):  # type: ignore[no-untyped-def]
    """(count or -1, stop, present, integers, numbers, spans, slow); see ``rows``."""
    columns = (
        np.zeros(most, dtype=np.int64),
        np.zeros((most, 4), dtype=np.int64),
        np.zeros((most, 6)),
        np.zeros((most, 2), dtype=np.int64),
    )
    slow = [(0, 0, 0, 0) for _ in range(0)]
    at = _space(text, start)
    count = -1
    if at < len(text) and text[at] == 91:
        at = _space(text, at + 1)
        count = 0
    if count == 0 and at < len(text) and text[at] == 93:
        return (0, at + 1, *columns, slow)
    while 0 <= count < most:
        at = _object(text, at, count, columns, names, lengths, slow)
        at = _space(text, at) if at > 0 else len(text)
        if at < len(text) and text[at] == 93:
            return (count + 1, at + 1, *columns, slow)
        if at >= len(text) or text[at] != 44:
            break
        at = _space(text, at + 1)
        count += 1
    return (-1, 0, *columns, slow)


@compiled
def rle_texts(text, spans):  # type: ignore[no-untyped-def]
    """(row that is not plain or -1, sizes (N, 2), counts uint8, starts (N + 1,)) of RLE objects.

    Plain is {"size": [height, width], "counts": "..."} in either order, with no escape in the string but
    the doubled backslash.
    """
    sizes = np.zeros((len(spans), 2), dtype=np.int64)
    starts = np.zeros(len(spans) + 1, dtype=np.int64)
    total = 0
    for i in range(len(spans)):
        total += spans[i, 1] - spans[i, 0]
    counts = np.empty(total, dtype=np.uint8)
    end = 0
    for i in range(len(spans)):
        at = _space(text, spans[i, 0] + 1)
        fields = 0
        while text[spans[i, 0]] == 123 and at < len(text) and text[at] == 34 and fields < 2:
            key = text[at + 1]
            at = _string(text, at)
            at = _space(text, _space(text, at) + 1)
            if key == 115 and text[at] == 91:  # "size"
                for side in range(2):
                    value, at, kind = _number(text, _space(text, at + 1))
                    if kind != 0 or value < 0:
                        return i, sizes, counts, starts
                    sizes[i, side] = np.int64(value)
                    at = _space(text, at)
                at += 1 if text[at] == 93 else len(text)
            elif key == 99 and text[at] == 34:  # "counts"
                stop = _string(text, at) - 1
                at += 1
                while at < stop:
                    at += 1 if text[at] == 92 else 0
                    counts[end] = text[at]
                    end += 1
                    at += 1
                at = stop + 1
            else:
                return i, sizes, counts, starts
            fields += 1
            at = _space(text, at)
            at = _space(text, at + 1) if at < len(text) and text[at] == 44 else at
        if fields != 2 or at != spans[i, 1] - 1:
            return i, sizes, counts, starts
        starts[i + 1] = end
    return -1, sizes, counts, starts


@compiled
def _sections(text):  # type: ignore[no-untyped-def]  # noqa: PLR0911
    """(count or -1, (64, 4) key span and value span) of an object's members."""
    found = np.zeros((64, 4), dtype=np.int64)
    at = _space(text, 0)
    if at >= len(text) or text[at] != 123:
        return -1, found
    at = _space(text, at + 1)
    count = 0
    while at < len(text) and text[at] == 34 and count < 64:
        found[count, 0] = at + 1
        at = _string(text, at)
        if at < 0:
            return -1, found
        found[count, 1] = at - 1
        at = _space(text, at)
        if at >= len(text) or text[at] != 58:
            return -1, found
        at = _space(text, at + 1)
        found[count, 2] = at
        at = _skip(text, at)
        if at < 0:
            return -1, found
        found[count, 3] = at
        count += 1
        at = _space(text, at)
        if at < len(text) and text[at] == 125:
            return (count, found) if _space(text, at + 1) == len(text) else (-1, found)
        if at >= len(text) or text[at] != 44:
            return -1, found
        at = _space(text, at + 1)
    return -1, found
