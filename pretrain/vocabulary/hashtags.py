"""Hashtags spelled canonically and resolved to synsets, in English or in the languages that are read."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from pretrain.vocabulary.wordnet import WordNet


class Word(NamedTuple):
    """A canonical spelling: languages that have it, and the union of its synsets there (ascending)."""

    languages: tuple[str, ...]
    synsets: tuple[int, ...]
    english: bool  # English knows the spelling too, and wins


@dataclass(frozen=True)
class Foreign:
    """The nouns of some languages.

    ``sources`` are (language, SHA-256 of the file that it was read from); ``packed`` the words, compressed:
    as a dict they would be a hundred megabytes in every message to a worker.
    """

    sources: tuple[tuple[str, str], ...]
    packed: bytes

    @classmethod
    def pack(cls, sources: Iterable[tuple[str, str]], words: Mapping[str, Word]) -> Foreign:
        """The same words, whatever order they came in, give the same value."""
        return cls(tuple(sources), zlib.compress(msgspec.msgpack.encode(dict(sorted(words.items()))), 6))

    @property
    def words(self) -> Mapping[str, Word]:
        """Every spelling, those that English keeps for itself among them."""
        return _unpacked(self.packed)

    def synsets(self, key: str) -> tuple[int, ...]:
        """What a canonical hashtag that English does not know means in these languages; empty: nothing."""
        word = self.words.get(key)
        return () if word is None or word.english else word.synsets


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> dict[str, Word]:
    return msgspec.msgpack.decode(zlib.decompress(packed), type=dict[str, Word])


# Letters that NFKD does not take apart; what the rest of the world types for them.
_STROKES = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"})


def canonical(tag: str) -> str:
    """A hashtag's canonical spelling: NFKC, case folded; diacritics, separators, joiners and dots removed.

    "Brown_Bear" and "brownbear" give the same, and so does a word with and without its joiners
    (U+200C, U+200D) or middle dots; marks that are vowels (Hindi, Thai) stay. Empty when nothing
    but separators was there.
    """
    if tag.isascii():
        return "".join(filter(str.isalnum, tag.lower())) if not tag.isalnum() else tag.lower()
    folded = unicodedata.normalize("NFKC", tag).casefold()
    apart = unicodedata.normalize("NFKD", folded).translate(_STROKES)
    # What stood between two characters is gone before they are composed.
    bare = (c for c in apart if not "\u0300" <= c <= "\u036f" and _belongs(c))
    return "".join(filter(_belongs, unicodedata.normalize("NFKC", "".join(bare))))


def _belongs(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M"


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
    ``excluded`` canonical hashtags mean nothing, nor do inflections of them alone. ``foreign`` are
    nouns of other languages, asked only about hashtags that English does not know.
    """

    morphology: bool = True
    synonyms: tuple[tuple[str, str], ...] = ()
    excluded: frozenset[str] = frozenset()
    foreign: Foreign | None = None


class Resolver:
    """Raw hashtags to WordNet: the lemma first, else inflections of lemmas, else other languages. Pure."""

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
        without their separators; the synsets of all splits are united (docs/paper.md). Lemmas
        strip to the same hashtag exactly when they are its splits.
        """
        key = canonical(tag)
        if key in self.excluded:
            return Unknown(key, True)
        if key in self.synonyms:
            target = self._meaning(self.synonyms[key])
            return Resolved(key, target.synsets) if isinstance(target, Resolved) else target
        return self._meaning(key)

    @cached_property
    def keys_of(self) -> Mapping[tuple[int, ...], tuple[str, ...]]:
        """The spellings, in every language that is read, whose synsets are exactly a given set."""
        if self.rules.foreign is None:
            return self.wordnet.keys_of
        found = {synsets: list(keys) for synsets, keys in self.wordnet.keys_of.items()}
        for key, word in self.rules.foreign.words.items():
            if not word.english:
                found.setdefault(word.synsets, []).append(key)
        return {synsets: tuple(keys) for synsets, keys in found.items()}

    def _meaning(self, key: str) -> Resolved | Unknown:
        found = self._english(key)
        if isinstance(found, Resolved) or found.excluded or self.rules.foreign is None:
            return found
        synsets = self.rules.foreign.synsets(key)
        return Resolved(key, synsets) if synsets else found

    def _english(self, key: str) -> Resolved | Unknown:
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
