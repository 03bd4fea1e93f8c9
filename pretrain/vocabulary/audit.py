"""What a person must see to trust a vocabulary: what became of every hashtag, and where meanings blur.

Which things it has labels for, and, on posts whose subject is known, the labels' precision and recall.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pretrain.posts.records import Post
from pretrain.vocabulary import wordnet
from pretrain.vocabulary.build import Selection, Synsets
from pretrain.vocabulary.classes import Labeller, Vocabulary, VocabularyClass
from pretrain.vocabulary.counting import Tally
from pretrain.vocabulary.hashtags import Resolver

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
    if selection.kind == "in1k" and set(map(wordnet.wnid, synsets)).isdisjoint(wordnet.in1k_wnids()):
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
        shared = {
            language
            for key in resolver.keys_of.get(word.synsets, ())
            for language in (words[key].languages if key in words and not words[key].english else ("eng",))
        }
        for language in word.languages:
            fate = "english" if word.english else "joined" if shared - {language} else "alone"
            found[language, fate][tag] = uses[tag]
    return [
        Spoken(name, nouns[name], *(_ranked(found[name, fate]) for fate in ("joined", "alone", "english")))
        for name, _ in foreign.sources
    ]


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
    topic = wordnet.load_relations().topic(offset)
    return Meaning(wnid, ", ".join(lemmas[:3]), topic, wnid in wordnet.in1k_wnids())


def uses_of(tally: Tally) -> Counter[str]:
    """Uses of canonical hashtags that mean something, inflections counted with their lemma."""
    found: Counter[str] = Counter()
    for resolved, uses in tally.hashtags.items():
        found[resolved.hashtag] += uses
    return found


def _ranked(counts: Mapping[str, int]) -> Ranked:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _by_posts(classes: Iterable[VocabularyClass]) -> list[VocabularyClass]:
    return sorted(classes, key=lambda entry: (-entry.count, entry.id))


class Covered(NamedTuple):
    """Posted classes for one synset or category.

    ``sure`` mean it, or a kind of it, and nothing else; ``maybe`` have other meanings as well, and mean it
    by a share of their meanings, in ``shares``.
    """

    name: str
    wnids: tuple[str, ...]
    sure: tuple[VocabularyClass, ...]
    maybe: tuple[VocabularyClass, ...]
    shares: tuple[float, ...] = ()

    @property
    def sure_posts(self) -> int:
        """Labels of the classes that mean it and nothing else."""
        return sum(entry.count for entry in self.sure)

    @property
    def maybe_posts(self) -> int:
        """Labels of the classes that may mean it."""
        return sum(entry.count for entry in self.maybe)

    @property
    def expected_posts(self) -> float:
        """Labels, where each meaning of a class is as likely."""
        shared = zip(self.maybe, self.shares, strict=True)
        return self.sure_posts + sum(entry.count * share for entry, share in shared)


def of_in1k(built: Vocabulary) -> list[Covered]:
    """The 1,000 synsets in class order; only the very synset counts, no kinds of it."""
    net = wordnet.load()
    having: dict[str, list[VocabularyClass]] = {wnid: [] for wnid in wordnet.in1k_wnids()}
    for entry in built.classes:
        for wnid in entry.synsets:
            if entry.count and wnid in having:
                having[wnid].append(entry)
    return [
        Covered(
            net.synset_lemmas[int(wnid[1:])][0].replace("_", " "),
            (wnid,),
            tuple(entry for entry in classes if len(entry.synsets) == 1),
            tuple(entry for entry in classes if len(entry.synsets) > 1),
        )
        for wnid, classes in having.items()
    ]


def of_coco(built: Vocabulary) -> list[Covered]:
    """The 80 categories in COCO's order; kinds of a category (poodle: dog) count for it."""
    categories = wordnet.coco_categories()
    return of_categories(built, list(categories), list(categories.values()))


def of_categories(
    built: Vocabulary, names: Sequence[str], synsets: Sequence[tuple[int, ...]]
) -> list[Covered]:
    """Categories that mean ``synsets`` (offsets), in their order; kinds of a category count for it."""
    relations = wordnet.load_relations()
    meant: dict[int, list[int]] = {}
    for i, offsets in enumerate(synsets):
        for offset in offsets:
            meant.setdefault(offset, []).append(i)
    sure: list[list[VocabularyClass]] = [[] for _ in names]
    maybe: list[list[tuple[VocabularyClass, float]]] = [[] for _ in names]
    for entry in _by_posts(built.classes):
        if not entry.count:
            continue
        hits = Counter[int]()
        for wnid in entry.synsets:
            above = relations.at_or_above(int(wnid[1:]))
            hits.update({i for offset in above & meant.keys() for i in meant[offset]})
        for i, number in hits.items():
            if number == len(entry.synsets):
                sure[i].append(entry)
            else:
                maybe[i].append((entry, number / len(entry.synsets)))
    return [
        Covered(
            name,
            tuple(map(wordnet.wnid, offsets)),
            tuple(sure[i]),
            tuple(entry for entry, _ in maybe[i]),
            tuple(share for _, share in maybe[i]),
        )
        for i, (name, offsets) in enumerate(zip(names, synsets, strict=True))
    ]


@dataclass
class Quality:
    """Labels against the truth.

    A label is right when its class has the synset, right or broader when the class has the synset or
    one above it (dog, of a poodle).
    """

    posts: int = 0
    labelled: int = 0  # posts with a label
    found: int = 0  # posts with a right label
    labels: int = 0
    right: int = 0
    broader: int = 0  # labels that are right or broader
    posts_of: Counter[str] = field(default_factory=Counter)  # synset -> posts
    found_of: Counter[str] = field(default_factory=Counter)

    @property
    def precision(self) -> float:
        """The share of labels that are right; 0 without labels."""
        return self.right / self.labels if self.labels else 0.0

    @property
    def precision_broader(self) -> float:
        """The share of labels that are right or broader; 0 without labels."""
        return self.broader / self.labels if self.labels else 0.0

    @property
    def recall(self) -> float:
        """The share of posts with a right label."""
        return self.found / self.posts

    def summary(self) -> list[str]:
        """Lines to print."""
        return [
            f"{self.posts:>14,} posts with a truth, {self.labelled:,} of them with a label",
            f"{self.precision:>14.2%} precision: {self.right:,} of {self.labels:,} labels are right "
            f"({self.precision_broader:.2%} right or broader)",
            f"{self.recall:>14.2%} recall: {self.found:,} posts have a right label",
        ]


def measure(posts: Iterable[Post], truth: Mapping[str, tuple[str, ...]], vocabulary: Vocabulary) -> Quality:
    """The quality of the labels of those ``posts`` that have a truth."""
    labeller, relations = Labeller(vocabulary), wordnet.load_relations()
    quality = Quality()
    for post in posts:
        known = truth.get(post.id)
        if not known:
            continue
        above = {wordnet.wnid(up) for wnid in known for up in relations.at_or_above(int(wnid[1:]))}
        meanings = [vocabulary.classes[label].synsets for label in labeller.labels(post.hashtags)]
        right = sum(not set(known).isdisjoint(synsets) for synsets in meanings)
        quality.posts += 1
        quality.labelled += bool(meanings)
        quality.found += bool(right)
        quality.labels += len(meanings)
        quality.right += right
        quality.broader += sum(not above.isdisjoint(synsets) for synsets in meanings)
        quality.posts_of.update(known)
        quality.found_of.update({wnid: int(any(wnid in synsets for synsets in meanings)) for wnid in known})
    return quality
