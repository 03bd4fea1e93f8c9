"""Accuracies, intervals, duplicates and confusions against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.transfer import scores
from wsl_det.errors import DataError

CLASSES = [f"c{i}" for i in range(6)]


def test_wilson_against_published_numbers() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: score method without continuity correction.
    for right, number, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        assert scores.wilson(right, number) == pytest.approx([100 * low, 100 * high], abs=0.006)
    assert scores.wilson(29, 29) == pytest.approx([88.30, 100.0], abs=0.01)
    assert scores.wilson(0, 0) is None


def _answers() -> scores.Answers:
    labels = np.array([0, 0, 1, 1, 5, 5])
    given = np.zeros((6, 6), dtype=np.float32)
    for row, best in enumerate([0, 1, 1, 1, 5, 0]):
        given[row, best] = 2
    given[5, 5] = 1  # second
    usable = np.array([True] * 6)
    return scores.Answers(labels, scores.best(given, usable))


def test_counts() -> None:
    found = scores.record(_answers(), CLASSES)
    assert found["top1"]["value"] == pytest.approx(100 * 4 / 6)
    # Row 1: class 0 is first among the zeros, so it is within five.
    assert found["top5"]["value"] == 100
    assert [one["right"] for one in found["by_class"]] == [1, 2, 0, 0, 0, 1]
    assert found["by_class"][2]["top1"] == {"value": None, "interval": None}
    assert found["mean_class_top1"] == pytest.approx((50 + 100 + 50) / 3)
    assert [0, 1, 1] in found["confusion"]["counts"]
    assert sum(n for *_, n in found["confusion"]["counts"]) == 6
    assert {"true": "c0", "answered": "c1", "images": 1, "of": 2} in found["confusion"]["most_confused"]


def test_few_classes_have_no_top5() -> None:
    labels = np.array([0, 1, 2])
    found = scores.record(scores.Answers(labels, np.array([[0, 1, 2]] * 3)), CLASSES[:3])
    assert found["top5"] is None
    assert "3 classes" in found["top5_reason"]


def test_duplicates_left_out_or_wrong() -> None:
    seen = np.array([True, False, False, False, False, False])
    out = scores.record(_answers(), CLASSES, duplicate=seen, mode="exclude")
    assert out["top1"]["value"] == pytest.approx(100 * 3 / 5)
    assert out["images"] == 5
    wrong = scores.record(_answers(), CLASSES, duplicate=seen, mode="wrong")
    assert wrong["top1"]["value"] == pytest.approx(100 * 3 / 6)
    assert wrong["top1"]["interval"] == scores.wilson(3, 6)
    assert wrong["by_class"][0]["right"] == 0
    with pytest.raises(DataError, match="duplicate"):
        scores.record(_answers(), CLASSES, duplicate=np.ones(6, bool), mode="exclude")


def test_unreadable_photos_are_wrong() -> None:
    given = np.ones((2, 6), dtype=np.float32)
    top = scores.best(given, np.array([True, False]))
    found = scores.record(scores.Answers(np.array([0, 0]), top), CLASSES)
    assert found["top1"]["value"] == 50
    assert [0, None, 1] in found["confusion"]["counts"]


def test_wilson_is_the_closed_formula() -> None:
    z = 1.959963984540054
    for right, number in ((1, 2), (3, 7), (81, 263), (49_999, 50_000), (1, 1_281_167)):
        share, squared = right / number, z * z / number
        half = z * (share * (1 - share) / number + squared / number / 4) ** 0.5
        ends = [(share + squared / 2 + sign * half) / (1 + squared) for sign in (-1, 1)]
        assert scores.wilson(right, number) == pytest.approx([100 * end for end in ends], rel=1e-12)
