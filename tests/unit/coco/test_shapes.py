"""Outlines are told apart and bounded before they reach native code; runs must fill their image."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from wsl_det.coco import masks, shapes
from wsl_det.detector import coco_records, pictures
from wsl_det.errors import DataError
from wsl_det.evaluation import evaluate

TREE: dict[str, Any] = {
    "images": [{"id": 5, "height": 40, "width": 50, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [
        {"id": 7, "image_id": 5, "category_id": 1, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0,
         "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]]}
    ],
}  # fmt: skip
ROW = {"image_id": 5, "category_id": 1, "score": 0.5, "bbox": [5, 5, 20, 10]}
HALF = coco_mask.encode(np.asfortranarray(np.eye(20, dtype=np.uint8)))["counts"].decode()
FORM = r"\[\[x0, y0, x1, y1, ...\]\]"

BAD = [
    ([5, 5, 25, 5, 25, 15], f"one flat list; expected polygons {FORM}"),
    ([[5, 5], [25, 5], [25, 15]], f"its points as pairs; .*{FORM}"),
    ([[[5, 5], [25, 5], [25, 15]]], f"its points as pairs; .*{FORM}"),
    ([[]], f"with an empty polygon; expected polygons {FORM}"),
    ([[5, 5, 25, 5, 25, 15], []], "with an empty polygon"),
    ([[5, 5, 25, 5, 25, 15, 5]], f"a polygon of 7 numbers; expected pairs of x and y, {FORM}"),
    ([[5, 5, 25, 5, 25, "15"]], "a polygon holds numbers"),
    ([[5, 5, 25, 5, 25, True]], "a polygon holds numbers"),
    (["abc"], "a polygon holds numbers"),
    ("abc", "segmentation 'abc'; expected polygons"),
    (5, "segmentation 5; expected polygons"),
    ([[5, 5, 25, 5, 25, float("nan")]], "no number"),
    ([[5, 5, 25, 5, 25, float("inf")]], "coordinate of inf, far outside its image"),
    ([[5, 5, 25, 5, 25, 1e308]], "far outside its image"),
    ([[5, 5, 25, 5, 25, -1e9]], "coordinate of -1e.09, far outside its image"),
    ([[5, 5, 25, 5, 25, 501]], "coordinate of 501, far outside its image .more than 500"),
    ([[5, 5, 25, 5, 25, 10**400]], "far outside its image"),
    ([[-400, 0, 400, 400] * 1500], "outline is 2400000 pixels long"),
    ({"size": [50, 40], "counts": [2000]}, r"RLE size \[50, 40\]; its image has \[40, 50\]"),
    ({"size": [40, 50, 1], "counts": [2000]}, "RLE size"),
    ({"size": [40.0, 50], "counts": [2000]}, "RLE size"),
    ({"size": None, "counts": [2000]}, "RLE size None"),
    ({"counts": [2000]}, "RLE size None"),
    ({"size": [40, 50]}, "RLE counts None"),
    ({"size": [40, 50], "counts": [7]}, "add up to 7; they must add up to height x width, 2000"),
    ({"size": [40, 50], "counts": [2001]}, "add up to 2001"),
    ({"size": [40, 50], "counts": [-1, 2001]}, "whole numbers 0 and above"),
    ({"size": [40, 50], "counts": [2000.0]}, "whole numbers 0 and above"),
    ({"size": [40, 50], "counts": [2**32 + 2000, 0]}, "add up to 4294969296"),
    ({"size": [40, 50], "counts": [10**40]}, "add up to 1000"),
    ({"size": [40, 50], "counts": HALF}, "annotation 7 has a damaged segmentation: its runs do not fill"),
    ({"size": [40, 50], "counts": "Wfj86c==F6M3N1O111O10"}, "its runs do not fill the image of 40 x 50"),
    ({"size": [40, 50], "counts": ""}, "its runs do not fill"),
    ({"size": [40, 50], "counts": "zzz"}, "its runs do not fill"),
    ({"size": [40, 50], "counts": "é"}, "its runs do not fill"),
    ({"size": [40, 50], "counts": "o" * 40}, "its runs do not fill"),
    ({"size": [40, 50], "counts": "n_1" + "N" * 5}, "its runs do not fill"),
]


def with_shape(value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    tree["annotations"][0]["segmentation"] = value
    return tree


@pytest.mark.parametrize(("value", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_shapes_are_refused_wherever_they_are_read(tmp_path: Path, value: Any, message: str) -> None:
    gt, found = tmp_path / "gt.json", tmp_path / "p.json"
    gt.write_text(json.dumps(with_shape(value)))
    found.write_text("[]")
    with pytest.raises(DataError, match=message) as training:
        coco_records.read(gt, tmp_path, "set")
    with pytest.raises(DataError, match=message) as scoring:
        evaluate(gt, [], ["segm"])
    assert str(training.value) == str(scoring.value)
    assert "gt.json: annotation 7" in str(scoring.value)
    with pytest.raises(DataError, match=message):
        pictures.compare(gt, found, tmp_path, tmp_path / "out", score=0.5, limit=0)


@pytest.mark.parametrize("value", [value for value, _ in BAD], ids=[str(i) for i in range(len(BAD))])
def test_bad_shapes_of_results_are_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "gt.json").write_text(json.dumps(TREE))
    (tmp_path / "p.json").write_text(json.dumps([ROW, {**ROW, "segmentation": value}][1:]))
    with pytest.raises(DataError, match=r"p\.json: row 0"):
        evaluate(tmp_path / "gt.json", tmp_path / "p.json", ["segm"])


def test_what_is_drawn_is_what_is_scored() -> None:
    outline = [[5.0, 5, 25, 5, 25, 15, 5, 15], [30.0, 2, 49, 39, 30, 39], [1.0, 1, 2, 2]]
    rle = coco_mask.merge(coco_mask.frPyObjects([p for p in outline if len(p) >= 6], 40, 50))
    drawn = coco_mask.decode(rle)
    runs = np.diff(np.flatnonzero(np.diff(np.r_[-1, drawn.T.ravel().astype(int), 2]))).tolist()
    counts = [0, *runs] if drawn[0, 0] else runs
    for value in (
        outline,
        {"size": [40, 50], "counts": rle["counts"].decode()},
        {"size": [40, 50], "counts": rle["counts"]},
        {"size": [40, 50], "counts": counts},
    ):
        np.testing.assert_array_equal(masks.pixels(value, 40, 50, "it"), drawn)
        found = masks.read([value], np.array([[40, 50]]), str)
        assert found.area.tolist() == [drawn.sum()]
        assert masks.read([value], np.array([[40, 50]]), str).boxes_xywh.tolist() == [
            coco_mask.toBbox(rle).tolist()
        ]


def test_polygons_of_whole_and_half_images_and_over_the_border_are_fine() -> None:
    for outline in ([[0, 0, 50, 0, 50, 40, 0, 40]], [[-100, -100, 300, -100, 300, 300]], [[1, 2, 3, 4]]):
        assert shapes.parse(outline, 40, 50) is not None
    assert shapes.parse([], 40, 50) is None
    assert shapes.parse(None, -1, -1) is None


def test_area_of_polygons() -> None:
    assert shapes.has_area(np.array([0.0, 0, 1, 0, 1, 1]))
    assert not shapes.has_area(np.array([0.0, 0, 1, 1, 2, 2, 5, 5]))
    assert not shapes.has_area(np.array([0.0, 0, 1, 0]))
