"""The most frequent of any number of hashtags in bounded memory, with a bound on what is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

CAPACITY = 1 << 16


@dataclass
class Frequent:
    """Uses of hashtags: each is ``counts[tag]`` at least and ``error`` more at most.

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
