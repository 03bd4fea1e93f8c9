"""The scanner gives the columns of the slow way bit for bit, or leaves the file to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import coco_sets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_det import predictions
from wsl_det.errors import DataError
from wsl_det.evaluation import evaluate, ground_truth, reading, scan


@pytest.fixture(autouse=True)
def scan_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SCAN_FROM", 0)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("keys", [("bbox",), ("segmentation",), ("bbox", "segmentation")])
def test_scanned_predictions_equal_the_slow_way(
    tmp_path: Path, indent: int | None, keys: tuple[str, ...]
) -> None:
    _, results = coco_sets.make(np.random.default_rng(1), score_digits=17)
    rows = [{k: v for k, v in r.items() if k in ("image_id", "category_id", "score", *keys)} for r in results]
    rows[0]["note"] = {"left": ["out", 1.5e3, None], 'odd "key"': True}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows, indent=indent))
    fast, slow = reading._scan_predictions(path), predictions.read(path)
    assert fast is not None
    for name in ("image_ids", "category_ids", "scores", "boxes_xywh"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    assert (fast.masks is None) == (slow.masks is None)
    if fast.masks is not None and slow.masks is not None:
        assert [{**m, "counts": m["counts"].decode()} for m in fast.masks] == list(slow.masks)


def test_scanned_ground_truth_equals_the_slow_way(tmp_path: Path) -> None:
    truth, _ = coco_sets.make(np.random.default_rng(2))
    truth["annotations"][3].pop("segmentation")
    truth["info"] = {"description": 'quotes " and \\ and {[', "year": 2017}
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(truth))
    fast, slow = reading._scan_ground_truth(path), ground_truth.from_tree(truth)
    assert fast is not None
    for name in (
        "image_ids",
        "image_sizes",
        "category_ids",
        "object_image",
        "object_class",
        "object_boxes_xywh",
    ):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    np.testing.assert_array_equal(fast.object_area, slow.object_area)
    np.testing.assert_array_equal(fast.object_crowd, slow.object_crowd)
    assert list(fast.segmentations) == list(slow.segmentations)
    assert (fast.class_names, fast.file_names, fast.renumbered) == (slow.class_names, slow.file_names, True)


def scores(text: str) -> np.ndarray | None:
    rows = scan.rows(text.encode())
    return None if rows is None else rows.numbers[:, 1]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_any_float_is_rounded_as_python_rounds_it(values: list[float]) -> None:
    found = scores(json.dumps([{"score": value} for value in values]))
    assert found is not None
    assert found.tolist() == values


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.from_regex(
        re.compile(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?", re.ASCII), fullmatch=True
    )
)
def test_any_number_text_is_rounded_as_python_rounds_it_or_left(text: str) -> None:
    found = scores(f'[{{"score": {text}}}]')
    assert found is None or found[0] == float(text)


@pytest.mark.parametrize(
    "text", ["9007199254740993.5", "0.30000000000000004", "5e-324", "1.7976931348623157e308", "0.1e1"]
)
def test_hard_numbers(text: str) -> None:
    assert scores(f'[{{"score":{text}}}]') == [float(text)]


NOT_PLAIN = [
    "", "[", "{}", "[1]", "[{]", '[{"score": 1}', '[{"score": 01}]', '[{"score": .5}]', '[{"score": 5.}]',
    '[{"score": NaN}]', '[{"score": "1"}]', '[{"score": 1e}]', '[{"score": -}]',
    '[{"score": 1} {"score": 2}]',
    '[{"score": 1},]', '[{"score": 1,}]', '[{"score" 1}]', '[{"score": 1, "score": 2}]',
    '[{"image_id": 1.0}]',
    '[{"image_id": true}]', '[{"image_id": 123456789012345678901}]', '[{"bbox": [1, 2, 3]}]',
    '[{"bbox": [1, 2, 3, 4, 5]}]', '[{"bbox": null}]', '[{"x": "unfinished}]', '[{"x": [1, 2}',
    '[{"score": 1}}',
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_slow_way(text: str) -> None:
    assert scan.rows(text.encode()) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cut=st.integers(0, 400), insert=st.binary(max_size=3))
def test_damaged_text_never_hangs_or_crashes(cut: int, insert: bytes) -> None:
    text = json.dumps(
        [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3.5, 4], "score": 0.5, "x": ["a", {}]}] * 4
    ).encode()
    scan.rows(text[:cut] + insert + text[cut + 2 :])
    scan.sections(b'{"annotations":' + text[:cut] + insert + b"}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "image_id 99, which .* does not have .1 unknown in all.*different data sets"),
        ({"category_id": 5}, "category_id 5, which"),
        ({"score": -1}, "score -1"),
        ({"image_id": "0"}, r"image_id '0' \(str\)"),
        ({"bbox": [0, 0, -2, 2]}, "width and height 0 or more"),
    ],
)
@pytest.mark.parametrize("size", [0, 1 << 30])
def test_bad_rows_get_the_same_message_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str, size: int
) -> None:
    monkeypatch.setattr(reading, "SCAN_FROM", size)
    truth, results = coco_sets.make(np.random.default_rng(1), masks=False)
    results[7] |= change
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=message) as error:
        evaluate(tmp_path / "gt.json", tmp_path / "p.json")
    assert "row 7" in str(error.value)


def test_masks_of_the_wrong_size_or_damaged_are_refused(tmp_path: Path) -> None:
    truth, results = coco_sets.make(np.random.default_rng(1))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    for field, value, message in (
        ("size", [240, 240], r"segmentation 5 has RLE size \[240, 240\]; its image has \[240, 257\]"),
        ("counts", "zzz", "segmentation 5 is damaged"),
        ("counts", "", "segmentation 5 is damaged"),
    ):
        bad = json.loads(json.dumps(results))
        bad[5]["segmentation"][field] = value
        (tmp_path / "p.json").write_text(json.dumps(bad))
        with pytest.raises(DataError, match=message):
            evaluate(tmp_path / "gt.json", tmp_path / "p.json", ["segm"])
        with pytest.raises(DataError, match=message):
            evaluate(truth, bad, ["segm"])
