"""What was counted over all posts; additive, so that parts can be counted apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pretrain.vocabulary.hashtags import Resolved

CAPACITY = 1 << 16


@dataclass
class Frequent:
    """The most frequent of any number of hashtags in bounded memory, with a bound on what is missed.

    Uses of hashtags: each is ``counts[tag]`` at least and ``error`` more at most.

    While there are no more than ``capacity`` distinct hashtags, ``error`` is 0 and the counts are
    exact. Beyond it, the rarest give way: Misra and Gries' summary, merged as by Agarwal and
    others ("Mergeable summaries", 2012), whose error is at most all uses over ``capacity`` + 1.
    """

    capacity: int = CAPACITY
    counts: Counter[str] = field(default_factory=Counter)
    error: int = 0

    def update(self, uses: Mapping[str, int]) -> None:
        """Add uses of hashtags."""
        self.counts.update(uses)
        if len(self.counts) > self.capacity:
            self._make_room()

    def add(self, other: Frequent) -> None:
        """Add what another summary knows of other posts."""
        self.error += other.error
        self.update(other.counts)

    def _make_room(self) -> None:
        least = sorted(self.counts.values(), reverse=True)[self.capacity]
        self.error += least
        kept = {tag: uses - least for tag, uses in self.counts.items() if uses > least}
        self.counts = Counter(kept)


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
    excluded: Counter[str] = field(default_factory=Counter)  # canonical hashtag on the user's list -> uses
    unknown: Frequent = field(default_factory=Frequent)  # canonical hashtags that WordNet does not know

    def add(self, other: Tally) -> None:
        """Add the counts of other posts; the order of additions does not matter."""
        self.posts += other.posts
        self.tagged += other.tagged
        self.meant += other.meant
        self.tags += other.tags
        self.known_tags += other.known_tags
        self.classes.update(other.classes)
        self.hashtags.update(other.hashtags)
        self.excluded.update(other.excluded)
        self.unknown.add(other.unknown)
