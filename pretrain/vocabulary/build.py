"""Which meanings become classes, and in what order: from counts to a vocabulary."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrain.posts import files as post_files
from pretrain.posts import records as posts
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary import counting, wordnet
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from pretrain.vocabulary.counting import Tally
from pretrain.vocabulary.hashtags import Resolver, Rules
from pretrain.workers import mapping
from wsl_det.core import provenance
from wsl_det.errors import ConfigError, DataError

Synsets = tuple[int, ...]
_RULES: tuple[tuple[str, str, Any], ...] = (
    ("morphology", "--no-morphology", True),
    ("synonyms", "--synonyms", {}),
    ("excluded", "--exclude", []),
    ("languages", "--languages", {}),
)
FREQUENT_SIZE = 8500  # the paper's third vocabulary has "~8.5k" classes (docs/paper.md)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which classes a vocabulary takes.

    ``kind``: in1k takes sets that hold a synset of ImageNet-1k, wordnet every set, frequent the
    most frequent sets. ``size`` keeps that many most frequent classes (None: all; 8,500 for
    frequent); ``min_count`` is the least number of posts, 0 takes classes that no post carries.
    """

    kind: str
    size: int | None = None
    min_count: int = 1

    def __post_init__(self) -> None:
        if self.kind not in vocabulary.KINDS:
            raise ConfigError(f"--kind {self.kind} is unknown; choose {', '.join(vocabulary.KINDS)}")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"--size {self.size}: a vocabulary has at least 1 class")
        if self.min_count < 0:
            raise ConfigError(f"--min-count {self.min_count}: give 0 or more")

    @property
    def limit(self) -> int | None:
        """The largest number of classes."""
        return FREQUENT_SIZE if self.kind == "frequent" and self.size is None else self.size


def build(
    paths: Sequence[str | Path],
    columns: posts.Columns,
    rules: Rules,
    selection: Selection,
    *,
    old: Vocabulary | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> tuple[Vocabulary, Tally, posts.Ledger]:
    """The vocabulary of all posts in ``paths``; a pure function of their content, whatever its order.

    With ``old``, its classes keep their ids and new ones follow. Raises DataError when no
    class is left.
    """
    paths = post_files.expand(paths)
    resolver = Resolver(wordnet.load(), rules)
    tally, ledger = counting.count_files(paths, columns, rules, workers, scheduler)
    made_from = {f"posts {path}": path for path in paths}
    meta = {
        **provenance.header("vocabulary", vocabulary.SCHEMA, made_from, mapping.FREE),
        **described(resolver, selection),
        "extends": old.sha256 if old else None,
        "counts": summary(tally),
        "skipped": dict(sorted(ledger.skipped.items())),
    }
    return assemble(tally, resolver, selection, old, meta), tally, ledger


def assemble(
    tally: Tally, resolver: Resolver, selection: Selection, old: Vocabulary | None, meta: Mapping[str, Any]
) -> Vocabulary:
    """The vocabulary that counts and rules determine."""
    _same_rules(old, resolver, selection)
    spellings = Spellings(tally, resolver)
    chosen = select(tally.classes, tally.classes if selection.min_count else spellings.meanings(), selection)
    kept = [] if old is None else [_recounted(entry, tally, spellings) for entry in old.classes]
    known = {entry.synsets for entry in kept}
    new = sorted(synsets for synsets in chosen if wnids(synsets) not in known)
    for synsets in new:
        tags = spellings.of(synsets)
        name = resolver.wordnet.name(tags, synsets)
        kept.append(VocabularyClass(len(kept), name, wnids(synsets), tags, tally.classes[synsets]))
    if not kept:
        raise DataError(
            f"no class of kind {selection.kind} has {selection.min_count} posts or more: of {tally.tags:,} "
            f"hashtags in {tally.posts:,} posts WordNet knows {tally.known_tags:,}; "
            "give more posts or another --kind"
        )
    return Vocabulary(selection.kind, tuple(kept), dict(meta))


def select(
    counts: Mapping[Synsets, int], candidates: Iterable[Synsets], selection: Selection
) -> list[Synsets]:
    """The sets of synsets that become classes, unordered; ties at the limit go to the lower offsets."""
    in1k = {int(name[1:]) for name in wordnet.in1k_wnids()} if selection.kind == "in1k" else None
    found = [
        synsets
        for synsets in candidates
        if counts.get(synsets, 0) >= selection.min_count and (in1k is None or not in1k.isdisjoint(synsets))
    ]
    found.sort(key=lambda synsets: (-counts.get(synsets, 0), synsets))
    return found[: selection.limit]


class Spellings:
    """Every canonical hashtag of a set of synsets: two hashtags merge when their sets are equal.

    All lemmas of WordNet (and of the other languages that are read) are listed, posted or not: a
    synonym that turns up later is then no change of the vocabulary. Added are the user's synonyms
    and inflections of several lemmas.
    """

    def __init__(self, tally: Tally, resolver: Resolver) -> None:
        self._resolver = resolver
        self._added: dict[Synsets, set[str]] = defaultdict(set)
        for meaning in [*tally.hashtags, *filter(None, map(resolver.resolve, resolver.synonyms))]:
            self._added[meaning.synsets].add(meaning.hashtag)

    def of(self, synsets: Synsets) -> tuple[str, ...]:
        """The hashtags, sorted; empty when the user's lists leave none."""
        added, synonyms = self._added.get(synsets, set()), self._resolver.synonyms.keys()
        lemmas = self._resolver.keys_of.get(synsets, ())
        return tuple(sorted(added.union(lemmas) - self._resolver.excluded - synonyms | added & synonyms))

    def meanings(self) -> set[Synsets]:
        """Every set that has a hashtag, posted or not."""
        known = {*self._resolver.keys_of, *self._added}
        return {synsets for synsets in known if self.of(synsets)}


def wnids(synsets: Synsets) -> tuple[str, ...]:
    """Offsets in ImageNet's spelling."""
    return tuple(map(wordnet.wnid, synsets))


def described(resolver: Resolver, selection: Selection) -> dict[str, Any]:
    """What decides the classes apart from the posts; kept in the vocabulary's meta."""
    return {
        "size": selection.limit,
        "min_count": selection.min_count,
        "morphology": resolver.rules.morphology,
        "synonyms": dict(sorted(resolver.synonyms.items())),
        "excluded": sorted(resolver.excluded),
        "languages": dict(resolver.rules.foreign.sources) if resolver.rules.foreign else {},
    }


def summary(tally: Tally) -> dict[str, int]:
    """Counts that a person wants to see."""
    return {
        "posts": tally.posts,
        "posts with hashtags": tally.tagged,
        "posts with a hashtag WordNet knows": tally.meant,
        "hashtags": tally.tags,
        "hashtags WordNet knows": tally.known_tags,
        "distinct canonical hashtags WordNet knows": len(tally.hashtags),
        "distinct sets of synsets": len(tally.classes),
    }


def _same_rules(old: Vocabulary | None, resolver: Resolver, selection: Selection) -> None:
    if old is None:
        return
    if old.kind != selection.kind:
        raise ConfigError(f"--extend: the old vocabulary is of kind {old.kind}, not {selection.kind}")
    now = described(resolver, selection)
    for key, option, default in _RULES:
        if old.meta.get(key, default) != now[key]:
            raise ConfigError(f"--extend: the old vocabulary was built with another {option}; give the same")


def _recounted(entry: VocabularyClass, tally: Tally, spellings: Spellings) -> VocabularyClass:
    synsets = tuple(int(name[1:]) for name in entry.synsets)
    tags = tuple(sorted({*entry.hashtags, *spellings.of(synsets)}))
    return dataclasses.replace(entry, hashtags=tags, count=tally.classes[synsets])


def describe(built: Vocabulary, tally: Tally, path: str | Path) -> str:
    """A summary to print: what was counted and what became of it."""
    merged = sum(len(entry.hashtags) > 1 for entry in built.classes)
    polysemous = sum(len(entry.synsets) > 1 for entry in built.classes)
    labels = sum(entry.count for entry in built.classes)
    top = sorted(built.classes, key=lambda entry: (-entry.count, entry.id))[:5]
    lines = [f"{value:>14,} {what}" for what, value in summary(tally).items()]
    lines += [
        f"{len(built):>14,} classes of kind {built.kind}; {merged:,} merge several hashtags, "
        f"{polysemous:,} have several meanings",
        f"{labels:>14,} labels; most frequent: " + ", ".join(f"{c.name} {c.count:,}" for c in top),
        f"wrote {path}, sha256 {built.sha256}",
    ]
    return "\n".join(lines)
