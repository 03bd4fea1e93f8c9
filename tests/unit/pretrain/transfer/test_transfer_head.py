"""Hashtag classes answering for wnid folders: missing and ambiguous synsets."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.transfer import head
from pretrain.transfer.head import HeadClass
from wsl_det.errors import DataError

TESTED = ("n1", "n2", "n3", "n4")
OUTPUTS = [
    HeadClass("plain", ("n1",)),
    HeadClass("elsewhere", ("n9",)),
    HeadClass("crane", ("n2", "n3", "n8")),
    HeadClass("none", ()),
]


def test_matching() -> None:
    match = head.answering(OUTPUTS, TESTED)
    assert match.columns.tolist() == [0, 2]
    assert match.names == ("plain", "crane")
    assert match.held.tolist() == [[True, False, False, False], [False, True, True, False]]
    assert match.missing == ("n4",)
    assert match.ambiguous == {"crane": ("n2", "n3")}


def test_nothing_to_answer() -> None:
    with pytest.raises(DataError, match="none of the 1 folders"):
        head.answering(OUTPUTS, ("sparrow",))


def test_answers_are_sought_among_the_columns_that_may_answer() -> None:
    match = head.answering(OUTPUTS, TESTED)
    given = np.array([[0.1, 9.0, 0.0, 5.0], [0.0, 0.0, 1.0, 0.0]], dtype=np.float32)
    assert given[:, match.columns].argmax(1).tolist() == [0, 1]
