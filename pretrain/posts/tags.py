"""Hashtags as posted: found in captions as the platforms find them, and in lists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

# ＃ (U+FF03) is what Japanese and Chinese keyboards give.
SIGNS = "#\uff03"
NOTHING, LETTER, OTHER, MARK, INNER = 0, 1, 2, 3, 4
# What a hashtag goes on with on Twitter beside letters, digits and marks: joiners (Persian, Sinhala),
# middle dots (Catalan, Katakana), Hebrew and Tibetan punctuation, wave dashes.
_INNER = "\u200c\u200d\xb7\u05be\u05f3\u05f4\u0f0b\u0f0c\u3003\u301c\u309b\u309c\u30a0\u30fb\ua67e\uff5e"
_KNOWN = 0x34000  # beyond it Unicode has no letters
# Only ASCII: text in other scripts may follow a URL at once. Names of hosts are bounded, so that no
# caption, whatever it is made of, is searched in more than linear time.
_URL = r"(?:https?://|www\.)[!-~]+|{edge}[a-zA-Z0-9-]{{1,63}}(?:\.[a-zA-Z0-9-]{{1,63}}){{1,9}}/[!-~]*"
_DIVIDERS = re.compile(r"[;,|\uff0c\u3001\uff1b]")
_RESERVED = re.compile(r"%(?=[0-9a-fA-F]{2})|[;,|\uff0c\u3001\uff1b]")
_ENCODED = re.compile(rb"%([0-9a-fA-F]{2})")


def in_caption(caption: str) -> list[str]:
    """The hashtags of a caption in order, as posted, without their signs.

    A hashtag is # or ＃ and the letters, digits, combining marks, underscores, joiners and middle dots
    after it, of any script; at least one is a letter (#1 is no hashtag); signs inside URLs and of
    HTML entities (&#39;) do not count. Tags may follow each other without a space.
    """
    return list(filter(None, _found_by(caption.isascii())(caption)))


def in_list(text: str, separator: str | None = None) -> list[str]:
    """The hashtags of a list in one string: split at ``separator``, or else as below, or else at spaces.

    Without ``separator``, any of ; , | and the Chinese and Japanese ， 、 ； divides, and a tag may hold
    spaces when one of them is there ("New York;skyline"). Signs divide too; see ``in_entry``.
    """
    if separator is None and not _DIVIDERS.search(text):
        return [tag for part in text.split() for tag in in_entry(part)]
    return in_entry(text, separator)


def in_entry(text: str, separator: str | None = None) -> list[str]:
    """The hashtags in one entry of a list: mostly one, which may hold spaces, but no sign and no divider.

    Percent-encoded tags, as in YFCC100M, are decoded where that gives UTF-8.
    """
    parts: Iterable[str] = text.split(separator) if separator else _DIVIDERS.split(text)
    tags = (tag.strip() for part in parts for tag in _decoded(part).replace(SIGNS[1], "#").split("#"))
    return [tag for tag in tags if tag]


def encoded(tag: str) -> str:
    """A tag as an entry that ``in_entry`` reads as this one tag, whatever is in it."""
    return _RESERVED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), tag)


def _decoded(text: str) -> str:
    if text.isascii() and "%" not in text:
        return text
    # JSON can spell half a surrogate pair, which no file can hold.
    written = text.encode("utf-8", "ignore")
    try:
        return _ENCODED.sub(lambda found: bytes.fromhex(found[1].decode()), written).decode()
    except UnicodeDecodeError:
        return written.decode()


@cache
def character_kinds() -> bytes:
    """What each code point below 0x34000 is in a hashtag: NOTHING, LETTER, OTHER, MARK or INNER.

    OTHER are digits and the underscore. A MARK (of Hindi, Thai or decomposed letters) and an INNER
    (a joiner, a middle dot) go on with a hashtag but open none. Variation selectors are nothing:
    they make keycap emoji, not words.
    """
    kinds = bytearray(_KNOWN)
    for code, character in enumerate(map(chr, range(_KNOWN))):
        if character.isalpha():
            kinds[code] = LETTER
        elif character.isalnum() or character == "_":
            kinds[code] = OTHER
        elif unicodedata.category(character) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F:
            kinds[code] = MARK
    for character in _INNER:
        kinds[ord(character)] = INNER
    return bytes(kinds)


@cache
def pattern(edge: str, ascii_only: bool = False) -> str:
    r"""A regular expression for Python and Rust alike, of which group 1 is a hashtag; URLs match without it.

    Classes are spelled out, for ``\w`` means another thing in each; ``edge`` is the engine's
    ASCII word boundary.
    """
    kinds = character_kinds()[: 128 if ascii_only else None]
    letter, other, mark, inner = (_ranges(kinds, kind) for kind in (LETTER, OTHER, MARK, INNER))
    tag = f"(?:[{other}][{other}{mark}{inner}]*)?[{letter}][{letter}{other}{mark}{inner}]*"
    return f"{_URL.format(edge=edge)}|&#|[{SIGNS}]({tag})"


@cache
def _found_by(ascii_only: bool) -> Callable[[str], list[str]]:
    return re.compile(pattern(r"(?a:\b)", ascii_only)).findall


def _ranges(kinds: bytes, kind: int) -> str:
    runs = re.finditer(re.escape(bytes([kind])) + b"+", kinds)
    return "".join(f"{chr(run.start())}-{chr(run.end() - 1)}" for run in runs)
