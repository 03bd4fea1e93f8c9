"""Hashtags as posted: found in captions as the platforms find them, and in lists."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

# Scheme or www, or a bare domain with a path. Only ASCII: text in other scripts may follow at once.
_URL = r"(?:https?://|www\.)[!-~]+|\b[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+/[!-~]*"
# ＃ (U+FF03) is what Japanese and Chinese keyboards give.
_SIGN = r"(?<!&)[#\uff03]"
_ASCII_TAG = re.compile(rf"{_URL}|(?<!&)#(\w+)", re.ASCII)
NOTHING, LETTER, OTHER, MARK = 0, 1, 2, 3
KNOWN = 0x20000  # letters from here on are rare ideographs; there are no marks of words
_SEPARATOR_LISTS = re.compile(r"[;,]")


def in_caption(caption: str) -> list[str]:
    """The hashtags of a caption in order, as posted, without their signs.

    A hashtag is # or ＃ and the letters, digits, combining marks and underscores after it, of any
    script; at least one is a letter (#1 is no hashtag); signs inside URLs and of HTML entities
    (&#39;) do not count. Tags may follow each other without a space.
    """
    pattern = _ASCII_TAG if caption.isascii() else _unicode_tag()
    return [tag for tag in pattern.findall(caption) if tag and not tag.isdigit() and _has_letter(tag)]


def in_list(text: str, separator: str | None = None) -> list[str]:
    """The hashtags of a list in one string: split at ``separator``, or else at ; and , or else at spaces.

    Leading signs are removed and empty entries dropped; a tag may hold spaces when ; or , divide
    the list ("New York;skyline").
    """
    if separator is not None:
        parts: Iterable[str] = text.split(separator)
    elif _SEPARATOR_LISTS.search(text):
        parts = _SEPARATOR_LISTS.split(text)
    else:
        parts = text.split()
    stripped = (part.strip().lstrip("#\uff03") for part in parts)
    return [tag for tag in stripped if tag]


def _has_letter(tag: str) -> bool:
    return tag.isalpha() or any(map(str.isalpha, tag))


@cache
def character_kinds() -> bytes:
    """What each code point below ``KNOWN`` is in a hashtag: NOTHING, LETTER, OTHER or MARK.

    OTHER are digits and the underscore; a MARK (of Hindi, Thai or decomposed letters) goes on with a
    hashtag but opens none. Variation selectors are nothing: they make keycap emoji, not words.
    """
    kinds = bytearray(KNOWN)
    for code in range(KNOWN):
        character = chr(code)
        if character.isalpha():
            kinds[code] = LETTER
        elif character.isalnum() or character == "_":
            kinds[code] = OTHER
        elif unicodedata.category(character) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F:
            kinds[code] = MARK
    return bytes(kinds)


@cache
def _unicode_tag() -> re.Pattern[str]:
    # \w lacks combining marks, without which Hindi and Thai words break apart.
    marks = [chr(code) for code, kind in enumerate(character_kinds()) if kind == MARK]
    return re.compile(rf"(?a:{_URL})|{_SIGN}(\w[\w{_ranges(marks)}]*)")


def _ranges(characters: list[str]) -> str:
    pieces: list[str] = []
    start = previous = ""
    for character in [*characters, chr(sys.maxunicode)]:
        if previous and ord(character) == ord(previous) + 1:
            previous = character
            continue
        if start:
            pieces.append(f"{start}-{previous}" if start != previous else start)
        start = previous = character
    return "".join(pieces)
