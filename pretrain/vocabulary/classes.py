"""The vocabulary: classes made of hashtags that mean the same synsets; its hash is its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pretrain.vocabulary import hashtags, wordnet
from wsl_det.core import files
from wsl_det.errors import DataError

SCHEMA = 1
KINDS = ("in1k", "wordnet", "frequent")
_REMEMBERED = 1_000_000
_NEW = -1


@dataclass(frozen=True)
class VocabularyClass:
    """One class: hashtags in canonical spelling whose sets of synsets are equal.

    ``synsets`` are WordNet 3.0 noun offsets ("n02132136"), sorted; ``hashtags`` are sorted;
    ``count`` is the number of posts that carry the class.
    """

    id: int
    name: str
    synsets: tuple[str, ...]
    hashtags: tuple[str, ...]
    count: Annotated[int, Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of classes with ids 0..n-1."""

    kind: str
    classes: tuple[VocabularyClass, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def sha256(self) -> str:
        """The vocabulary's name: a hash of ids, synsets and hashtags; counts do not enter."""
        return class_hash(self.classes)

    @cached_property
    def class_of(self) -> dict[str, int]:
        """Canonical hashtag -> class id."""
        return {tag: entry.id for entry in self.classes for tag in entry.hashtags}

    @cached_property
    def with_synset(self) -> dict[str, tuple[int, ...]]:
        """Synset -> ids of the classes that have it."""
        found: dict[str, tuple[int, ...]] = {}
        for entry in self.classes:
            found |= {synset: (*found.get(synset, ()), entry.id) for synset in entry.synsets}
        return found

    def labels(self, hashtags: Iterable[str]) -> list[int]:
        """Class ids of canonical hashtags, each once, ascending; unknown hashtags are dropped."""
        class_of = self.class_of
        return sorted({class_of[tag] for tag in hashtags if tag in class_of})

    def write(self, path: str | Path) -> None:
        """Write ``vocab.json``, whole or not at all."""
        files.write_json(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The value of ``vocab.json``."""
        head = {"schema": SCHEMA, "kind": self.kind, "sha256": self.sha256}
        classes = [
            {**vars(entry), "synsets": list(entry.synsets), "hashtags": list(entry.hashtags)}
            for entry in self.classes
        ]
        return {**head, "classes": classes, "meta": dict(self.meta)}


def class_hash(classes: Iterable[VocabularyClass]) -> str:
    """SHA-256 over UTF-8 lines ``id TAB synsets joined by , TAB hashtags joined by ,``."""
    digest = hashlib.sha256()
    for entry in classes:
        digest.update(f"{entry.id}\t{','.join(entry.synsets)}\t{','.join(entry.hashtags)}\n".encode())
    return digest.hexdigest()


def read(path: str | Path) -> Vocabulary:
    """The vocabulary in a ``vocab.json``; raises DataError when it breaks the format or its hash."""
    value = files.read_json(path, "vocabulary")
    try:
        if value["schema"] != SCHEMA:
            raise DataError(f"vocabulary {path} has schema {value['schema']}; this version reads {SCHEMA}")
        classes = msgspec.convert(value["classes"], tuple[VocabularyClass, ...])
        vocabulary = Vocabulary(str(value["kind"]), classes, dict(value.get("meta") or {}))
        stated, found = value["sha256"], vocabulary.sha256  # which halves of characters do not have
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} is no vocabulary ({type(error).__name__}: {error}); expected a vocab.json "
            "made by wsl-det build_vocab"
        ) from None
    _check(vocabulary, stated == found, path)
    return vocabulary


def _check(vocabulary: Vocabulary, same: bool, path: str | Path) -> None:
    ids = [entry.id for entry in vocabulary.classes]
    if ids != list(range(len(ids))):
        raise DataError(f"vocabulary {path}: ids must be 0..{len(ids) - 1} in the order of the list")
    if not same:
        raise DataError(
            f"vocabulary {path} states another sha256 than its classes hash to ({vocabulary.sha256[:12]}); "
            "it was edited by hand: build it again with wsl-det build_vocab"
        )
    if len(vocabulary.class_of) != sum(len(entry.hashtags) for entry in vocabulary.classes):
        raise DataError(f"vocabulary {path} lists a hashtag in more than one class; build it again")


class Labeller:
    """Looks hashtags up in a vocabulary: as they are spelled canonically, else as inflections."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        meta = vocabulary.meta
        self._class_of, self._with_synset = vocabulary.class_of, vocabulary.with_synset
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

    def classes(self, names: Iterable[str]) -> list[int]:
        """Class ids of true classes, ascending: all that have a synset; a name is looked up as a hashtag."""
        known = self._with_synset
        return sorted({i for name in names for i in (known.get(name) or self.labels([name]))})

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
