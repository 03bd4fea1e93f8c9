"""Nouns of other languages and the WordNet synsets they name, small enough to travel to every worker."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


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
        lines = (
            f"{key}\t{','.join(word.languages)}\t{','.join(map(str, word.synsets))}\t{int(word.english)}"
            for key, word in sorted(words.items())
        )
        return cls(tuple(sources), zlib.compress("\n".join(lines).encode("utf-8"), 6))

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
    found = {}
    for line in zlib.decompress(packed).decode("utf-8").splitlines():
        key, languages, synsets, english = line.split("\t")
        found[key] = Word(tuple(languages.split(",")), tuple(map(int, synsets.split(","))), english == "1")
    return found
