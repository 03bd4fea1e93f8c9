"""Raw hashtags to class ids of a vocabulary, by the rules that the vocabulary was built with."""

from __future__ import annotations

from collections.abc import Iterable

from pretrain.vocabulary import hashtags, wordnet
from pretrain.vocabulary.classes import Vocabulary

_REMEMBERED = 1_000_000
_NEW = -1


class Labeller:
    """Looks hashtags up in a vocabulary: as they are spelled canonically, else as inflections."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        meta = vocabulary.meta
        self._class_of = vocabulary.class_of
        self._class_of_synsets = {entry.synsets: entry.id for entry in vocabulary.classes}
        self._wordnet = wordnet.load()
        rules = hashtags.Rules(
            morphology=bool(meta.get("morphology", True)),
            synonyms=tuple((meta.get("synonyms") or {}).items()),
            excluded=frozenset(meta.get("excluded") or ()),
        )
        self._resolver = hashtags.Resolver(self._wordnet, rules)
        self._remembered: dict[str, int | None] = {}

    def labels(self, tags: Iterable[str]) -> list[int]:
        """Class ids of one post, ascending, each once however many synonyms were posted."""
        remembered = self._remembered
        if len(remembered) > _REMEMBERED:
            remembered.clear()
        found = set()
        for tag in tags:
            label = remembered.get(tag, _NEW)
            if label == _NEW:
                label = remembered[tag] = self._label(tag)
            if label is not None:
                found.add(label)
        return sorted(found)

    def _label(self, tag: str) -> int | None:
        key = hashtags.canonical(tag)
        if key in self._class_of:
            return self._class_of[key]
        meaning = self._resolver.resolve(tag)
        # A lemma of WordNet that the vocabulary does not list is not in it.
        if meaning is None or (meaning.hashtag == key and key in self._wordnet):
            return None
        if meaning.hashtag in self._class_of:
            return self._class_of[meaning.hashtag]
        return self._class_of_synsets.get(tuple(map(wordnet.wnid, meaning.synsets)))
