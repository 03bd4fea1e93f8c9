"""Counts, over all posts, of what their hashtags mean; additive, so that files can be counted apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pretrain.hashtags import Resolved, Resolver
from pretrain.posts import Post

# Distinct raw spellings remembered while counting; beyond it the memory is emptied and refills
# with what is frequent, so memory does not grow with the corpus.
_REMEMBERED = 1_000_000


@dataclass
class Tally:
    """What was counted: posts, and per meaning the posts that carry it (once each, however often tagged)."""

    posts: int = 0
    tagged: int = 0  # posts with at least one hashtag
    meant: int = 0  # posts with at least one hashtag that WordNet knows
    tags: int = 0
    known_tags: int = 0
    classes: Counter[tuple[int, ...]] = field(default_factory=Counter)  # set of synsets -> posts
    hashtags: Counter[Resolved] = field(default_factory=Counter)  # canonical hashtag -> uses

    def add(self, other: Tally) -> None:
        """Add the counts of other posts; the order of additions does not matter."""
        self.posts += other.posts
        self.tagged += other.tagged
        self.meant += other.meant
        self.tags += other.tags
        self.known_tags += other.known_tags
        self.classes.update(other.classes)
        self.hashtags.update(other.hashtags)


def count(posts: Iterable[Post], resolver: Resolver) -> Tally:
    """The tally of ``posts``."""
    tally = Tally()
    remembered: dict[str, Resolved | None] = {}
    for post in posts:
        if len(remembered) > _REMEMBERED:
            remembered.clear()
        known = []
        for tag in post.hashtags:
            if tag not in remembered:
                remembered[tag] = resolver.resolve(tag)
            meaning = remembered[tag]
            if meaning is not None:
                known.append(meaning)
        tally.posts += 1
        tally.tags += len(post.hashtags)
        tally.known_tags += len(known)
        tally.tagged += bool(post.hashtags)
        tally.meant += bool(known)
        tally.hashtags.update(known)
        tally.classes.update({meaning.synsets for meaning in known})
    return tally
