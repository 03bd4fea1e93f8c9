"""What a person must see to trust a vocabulary: what became of every hashtag, and where meanings blur."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pretrain.vocabulary import wordnet, wordnet_relations
from pretrain.vocabulary.build import Selection, Synsets
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from pretrain.vocabulary.foreign import Word
from pretrain.vocabulary.hashtags import Resolver
from pretrain.vocabulary.tally import Tally

Ranked = list[tuple[str, int]]  # hashtags and their uses, most used first


class Discarded(NamedTuple):
    """Hashtags that are no labels, for one reason; ``complete`` when ``examples`` holds all of them."""

    reason: str
    uses: int
    distinct: int
    examples: Ranked
    complete: bool = True


class Merged(NamedTuple):
    """One class of which several hashtags were posted."""

    entry: VocabularyClass
    posted: Ranked
    unposted: tuple[str, ...]


class Meaning(NamedTuple):
    """A synset as a person reads it; ``in1k``: it is one of the 1,000 of ImageNet."""

    wnid: str
    lemmas: str
    topic: str
    in1k: bool


class Collision(NamedTuple):
    """One hashtag for spellings that WordNet keeps apart because they mean different things."""

    hashtag: str
    uses: int
    spellings: tuple[tuple[str, tuple[Meaning, ...]], ...]


class Spoken(NamedTuple):
    """A language other than English: its nouns, and what became of those that were posted."""

    language: str
    nouns: int
    joined: Ranked  # one class with another language's hashtags, English above all
    alone: Ranked  # their set of meanings is nobody else's
    english: Ranked  # read as English, which knows the spelling


def discarded(built: Vocabulary, tally: Tally, selection: Selection) -> list[Discarded]:
    """Why hashtags are no labels, in the order of the questions that are asked; uses are exact.

    Every use of every hashtag is a label of ``built`` or in exactly one of these.
    """
    unknown = tally.tags - tally.known_tags - tally.excluded.total()
    rows = [
        Discarded(
            "no noun of WordNet 3.0",
            unknown,
            len(tally.unknown.counts),
            _ranked(tally.unknown.counts),
            tally.unknown.error == 0,
        ),
        _row("on your exclusion list", tally.excluded),
    ]
    reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
    kept = {entry.synsets for entry in built.classes}
    for meaning, uses in tally.hashtags.items():
        if tuple(map(wordnet.wnid, meaning.synsets)) not in kept:
            reasons[_reason(meaning.synsets, tally, selection)][meaning.hashtag] += uses
    rows += [_row(reason, counts) for reason, counts in sorted(reasons.items())]
    return [row for row in rows if row.uses]


def _reason(synsets: Synsets, tally: Tally, selection: Selection) -> str:
    if selection.kind == "in1k" and not in1k_offsets().intersection(synsets):
        return "no synset of ImageNet-1k"
    if tally.classes[synsets] < selection.min_count:
        return f"class in fewer than {selection.min_count:,} posts"
    return f"class beyond the {selection.limit or 0:,} most frequent"


def _row(reason: str, counts: Counter[str]) -> Discarded:
    return Discarded(reason, counts.total(), len(counts), _ranked(counts))


def merged(built: Vocabulary, tally: Tally) -> list[Merged]:
    """Classes that several posted hashtags share, most posts first."""
    uses = uses_of(tally)
    found = []
    for entry in _by_posts(built.classes):
        posted = _ranked({tag: uses[tag] for tag in entry.hashtags if tag in uses})
        if len(posted) > 1:
            unposted = tuple(tag for tag in entry.hashtags if tag not in uses)
            found.append(Merged(entry, posted, unposted))
    return found


def polysemous(built: Vocabulary) -> list[tuple[VocabularyClass, tuple[Meaning, ...]]]:
    """Posted classes with several meanings, most posts first."""
    classes = (c for c in _by_posts(built.classes) if len(c.synsets) > 1 and c.count)
    return [(entry, tuple(map(meaning, entry.synsets))) for entry in classes]


def collisions(built: Vocabulary, tally: Tally, resolver: Resolver) -> list[Collision]:
    """Posted hashtags of the vocabulary that several spellings of different meaning strip to."""
    uses = uses_of(tally)
    found = []
    for entry in built.classes:
        for tag in entry.hashtags:
            if tag in uses and tag not in resolver.synonyms:
                spellings = _spellings(tag, entry.synsets, resolver)
                if len(set(spellings.values())) > 1:
                    read = tuple((s, tuple(map(meaning, wnids))) for s, wnids in sorted(spellings.items()))
                    found.append(Collision(tag, uses[tag], read))
    return sorted(found, key=lambda row: (-row.uses, row.hashtag))


def spoken(built: Vocabulary, tally: Tally, resolver: Resolver) -> list[Spoken]:
    """What became of posted hashtags that other languages know, by language; empty without any.

    A hashtag of several languages stands with each.
    """
    foreign = resolver.rules.foreign
    if foreign is None:
        return []
    uses, words = uses_of(tally), foreign.words
    nouns = Counter(language for word in words.values() for language in word.languages)
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for tag in uses.keys() & words.keys():
        word = words[tag]
        shared = {lang for key in resolver.keys_of.get(word.synsets, ()) for lang in _languages(key, words)}
        for language in word.languages:
            fate = "english" if word.english else "joined" if shared - {language} else "alone"
            found[language, fate][tag] = uses[tag]
    return [
        Spoken(name, nouns[name], *(_ranked(found[name, fate]) for fate in ("joined", "alone", "english")))
        for name, _ in foreign.sources
    ]


def _languages(key: str, words: Mapping[str, Word]) -> tuple[str, ...]:
    return words[key].languages if key in words and not words[key].english else ("eng",)


def _spellings(tag: str, wnids: tuple[str, ...], resolver: Resolver) -> dict[str, tuple[str, ...]]:
    """Lemmas, small letters, that give a hashtag (or are the bases it inflects), and their synsets."""
    net = resolver.wordnet
    keys = {tag} if tag in net else set(net.base_forms(tag))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for wnid in wnids:
        lemmas = {lemma.lower() for lemma in net.synset_lemmas[int(wnid[1:])]}
        for lemma in lemmas:
            if wordnet.strip(lemma) in keys:
                found[lemma].append(wnid)
    return {lemma: tuple(ids) for lemma, ids in found.items()}


def meaning(wnid: str) -> Meaning:
    """A synset in words."""
    offset = int(wnid[1:])
    lemmas = [lemma.replace("_", " ") for lemma in wordnet.load().synset_lemmas[offset]]
    topic = wordnet_relations.load().topic(offset)
    return Meaning(wnid, ", ".join(lemmas[:3]), topic, offset in in1k_offsets())


def uses_of(tally: Tally) -> Counter[str]:
    """Uses of canonical hashtags that mean something, inflections counted with their lemma."""
    found: Counter[str] = Counter()
    for resolved, uses in tally.hashtags.items():
        found[resolved.hashtag] += uses
    return found


def in1k_offsets() -> frozenset[int]:
    """The 1,000 synsets of ImageNet-1k."""
    return frozenset(int(wnid[1:]) for wnid in wordnet.in1k_wnids())


def _ranked(counts: Mapping[str, int]) -> Ranked:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _by_posts(classes: Iterable[VocabularyClass]) -> list[VocabularyClass]:
    return sorted(classes, key=lambda entry: (-entry.count, entry.id))
