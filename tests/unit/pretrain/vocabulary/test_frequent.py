from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.vocabulary.counting import Frequent

USES = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 9), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(USES, max_size=5), max_size=4), st.integers(1, 13))
def test_counts_are_never_too_high_and_too_low_by_the_error_at_most(parts, capacity):
    whole, true = Frequent(capacity), Counter()
    for part in parts:
        summary = Frequent(capacity)
        for uses in part:
            summary.update(uses)
            true.update(uses)
        whole.add(summary)
    assert len(whole.counts) <= capacity
    for tag, uses in true.items():
        assert uses - whole.error <= whole.counts[tag] <= uses
    assert whole.error <= true.total() / (capacity + 1)
    if len(true) <= capacity:
        assert whole.error == 0 and whole.counts == true


def test_the_head_of_a_long_tail_is_found():
    chance = np.random.default_rng(0)
    tags = chance.zipf(1.3, 100_000).astype(str)
    summary = Frequent(500)
    for part in np.array_split(tags, 40):
        summary.update(Counter(part.tolist()))
    true = Counter(tags.tolist())
    assert len(true) > 5000
    assert [tag for tag, _ in summary.counts.most_common(10)] == [tag for tag, _ in true.most_common(10)]
