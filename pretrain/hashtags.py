"""Hashtags: found in captions as the platforms find them, spelled canonically, resolved to synsets."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pretrain.wordnet import WordNet

# Scheme or www, or a bare domain with a path. Only ASCII: text in other scripts may follow at once.
_URL = r"(?:https?://|www\.)[!-~]+|\b[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+/[!-~]*"
# ＃ (U+FF03) is what Japanese and Chinese keyboards give.
_SIGN = r"(?<!&)[#\uff03]"
_ASCII_TAG = re.compile(rf"{_URL}|(?<!&)#(\w+)", re.ASCII)
# Letters that NFKD does not take apart; what the rest of the world types for them.
_STROKES = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"})
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


def canonical(tag: str) -> str:
    """A hashtag's canonical spelling: NFKC, case folded, diacritics and separators removed.

    "Brown_Bear" and "brownbear" give the same; marks that are vowels (Hindi, Thai) stay. Empty
    when nothing but separators was there.
    """
    if tag.isascii():
        return "".join(filter(str.isalnum, tag.lower())) if not tag.isalnum() else tag.lower()
    folded = unicodedata.normalize("NFKC", tag).casefold()
    apart = unicodedata.normalize("NFKD", folded).translate(_STROKES)
    bare = "".join(c for c in apart if not "\u0300" <= c <= "\u036f")
    whole = unicodedata.normalize("NFKC", bare)
    return "".join(c for c in whole if c.isalnum() or unicodedata.category(c)[0] == "M")


class Resolved(NamedTuple):
    """A canonical hashtag and the noun synsets it may mean (offsets, ascending, at least one)."""

    hashtag: str
    synsets: tuple[int, ...]


class Unknown(NamedTuple):
    """A canonical hashtag that means nothing, and whether it is the user's list that excludes it."""

    hashtag: str
    excluded: bool


@dataclass(frozen=True)
class Rules:
    """What the user decides about meanings.

    ``synonyms`` are pairs of a canonical hashtag of the user's own and one that WordNet knows;
    ``excluded`` canonical hashtags mean nothing, nor do inflections of them alone.
    """

    morphology: bool = True
    synonyms: tuple[tuple[str, str], ...] = ()
    excluded: frozenset[str] = frozenset()


class Resolver:
    """Raw hashtags to WordNet: the lemma first, else inflections of lemmas. Pure: no counting here."""

    def __init__(self, wordnet: WordNet, rules: Rules | None = None) -> None:
        self.wordnet = wordnet
        self.rules = rules or Rules()
        self.synonyms = dict(self.rules.synonyms)
        self.excluded = self.rules.excluded

    def resolve(self, tag: str) -> Resolved | None:
        """What a raw hashtag means, or None when it means nothing; see ``read``."""
        found = self.read(tag)
        return found if isinstance(found, Resolved) else None

    def read(self, tag: str) -> Resolved | Unknown:
        """What a raw hashtag means to WordNet's nouns and the user's lists.

        Every way of splitting the hashtag into words is looked up at once, because lemmas are keyed
        without their separators; the synsets of all splits are united (facts.md 1.1). Lemmas
        strip to the same hashtag exactly when they are its splits.
        """
        key = canonical(tag)
        if key in self.excluded:
            return Unknown(key, True)
        if key in self.synonyms:
            target = self._meaning(self.synonyms[key])
            return Resolved(key, target.synsets) if isinstance(target, Resolved) else target
        return self._meaning(key)

    def _meaning(self, key: str) -> Resolved | Unknown:
        synsets = self.wordnet.synsets(key)
        if synsets:
            return Resolved(key, synsets)
        if not self.rules.morphology:
            return Unknown(key, False)
        forms = self.wordnet.base_forms(key)
        bases = [base for base in forms if base not in self.excluded]
        if not bases:
            return Unknown(key, bool(forms))
        # An inflection of one lemma is that lemma; of several (axes: ax, axis) it stays itself.
        united = {synset for base in bases for synset in self.wordnet.synsets(base)}
        return Resolved(bases[0] if len(bases) == 1 else key, tuple(sorted(united)))


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
