"""Unusable photos are counted one way: each once out of a total, or every draw."""

from __future__ import annotations

import pytest

from wsl_det.core.budget import Budget
from wsl_det.errors import DataError


def test_photos_count_once_and_one_may_be_forgiven() -> None:
    budget = Budget(0.01, "--skip-budget", 50, forgiven=1)
    assert budget.count([("a.jpg", "truncated image")] * 3) == [("a.jpg", "truncated image")]
    assert budget.summary() == "1 photos of 50 cannot be used:\n  a.jpg: truncated image"
    with pytest.raises(
        DataError, match=r"(?s)2 photos of 50 .*b\.jpg: missing.*more than --skip-budget 0\.01"
    ):
        budget.count([("b.jpg", "missing")])
    for strict in (Budget(0.0, "X", 50, forgiven=1), Budget(0.01, "X", 99)):
        with pytest.raises(DataError, match=r"allows \(0\)"):
            strict.count([("a.jpg", "missing")])
    Budget(0.01, "X", 100).count([("a.jpg", "missing")])


def test_a_long_list_is_cut() -> None:
    budget = Budget(1.0, "X", 100)
    budget.count([(f"{k}.jpg", "missing") for k in range(12)])
    assert budget.summary().count("\n") == 6 and budget.summary().endswith("... and 7 more")
