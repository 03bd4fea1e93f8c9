from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsl_det import predictions
from wsl_det.errors import DataError

GOOD = {"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 3, 4], "score": 0.25}
RLE = {"size": [4, 5], "counts": "04L4"}


def test_what_is_written_is_read_back_with_its_header(tmp_path: Path) -> None:
    path = tmp_path / "run" / "predictions.json"
    predictions.write(path, [GOOD, {**GOOD, "score": 1}], {"engine": {"name": "embedded"}})
    back = predictions.read(path)
    assert json.loads(path.read_text()) == [GOOD, {**GOOD, "score": 1}]
    assert back.meta is not None
    assert back.meta["engine"] == {"name": "embedded"}
    assert back.meta["predictions"]["detections"] == 2
    assert back.boxes_xywh is not None
    assert back.boxes_xywh.tolist() == [[1, 2.5, 3, 4]] * 2
    assert (back.image_ids.tolist(), back.category_ids.tolist(), back.scores.tolist()) == (
        [7, 7],
        [3, 3],
        [0.25, 1],
    )
    assert back.iou_types == ("bbox",)


def test_meta_lies_beside_the_file_whatever_its_name() -> None:
    assert predictions.meta_path("a/predictions.val.json") == Path("a/predictions.val.meta.json")
    assert predictions.meta_path("a/p") == Path("a/p.meta.json")


def test_predictions_from_elsewhere_have_no_header(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{**GOOD, "segmentation": RLE}]))
    back = predictions.read(path)
    assert back.meta is None
    assert back.iou_types == ("bbox", "segm")


def test_an_empty_list_is_valid_for_both_types(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    predictions.write(path, [], {})
    assert len(predictions.read(path)) == 0
    assert predictions.read(path).iou_types == ("bbox", "segm")


def test_a_header_of_other_contents_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    predictions.write(path, [GOOD], {})
    path.write_text(json.dumps([{**GOOD, "score": 0.9}]))
    with pytest.raises(DataError, match="describes other contents"):
        predictions.read(path)


BAD = [
    ({"images": [], "annotations": []}, "belong to --gt"),
    ({"a": 1}, "holds a dict; expected a list"),
    ([GOOD, 5], "row 1 is 5; expected an object"),
    ([GOOD, {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "row 1 has no 'score'"),
    ([{**GOOD, "image_id": "7"}], r"image_id '7' \(str\); expected a whole number; ids are integers"),
    ([{**GOOD, "category_id": 3.0}], r"category_id 3.0 \(float\)"),
    ([{**GOOD, "category_id": True}], r"category_id True \(bool\)"),
    ([{**GOOD, "image_id": 2**70}], "row 0 has image_id 1180591620717411303424, .* fit 64 bits"),
    ([{**GOOD, "image_id": -(2**63) - 1}], "does not fit 64 bits"),
    ([{**GOOD, "bbox": [0, 0, 5, 1e308]}], "row 0 has bbox"),
    ([{**GOOD, "bbox": [0, 0, 5, 10**400]}], "expected finite"),
    ([{**GOOD, "score": float("nan")}], "score nan"),
    ([{**GOOD, "score": float("inf")}], "score inf"),
    ([{**GOOD, "score": -0.1}], "score -0.1; expected a finite number, 0 or more"),
    ([{**GOOD, "score": "0.5"}], r"score '0.5' \(str\)"),
    ([GOOD, {**GOOD, "bbox": [0, 0, -1, 5]}], r"row 1 has bbox \[0.0, 0.0, -1.0, 5.0\]; expected finite"),
    ([{**GOOD, "bbox": [0, 0, float("nan"), 5]}], "expected finite"),
    ([{**GOOD, "bbox": [0, 0, 5]}], "expected finite .x, y, width, height."),
    ([{**GOOD, "bbox": [0, 0, None, 5]}], r"bbox \[0, 0, None, 5\]"),
    ([{**GOOD, "bbox": None}], "bbox None"),
    ([GOOD, {**GOOD, "segmentation": RLE}], "1 of 2 rows have 'segmentation'"),
    ([{"image_id": 1, "category_id": 1, "score": 1}], 'neither "bbox" nor "segmentation"'),
    ([{**GOOD, "segmentation": {"size": [4], "counts": ""}}], "expected RLE"),
    ([{**GOOD, "segmentation": [[1, 2, 3, 4]]}], "expected RLE"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_results_are_refused_with_the_row_and_the_value(
    tmp_path: Path, content: object, message: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        predictions.read(path)


@pytest.mark.parametrize(("text", "message"), [('[{"image_id": 1', "not whole JSON"), ("", "not whole JSON")])
def test_a_truncated_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        predictions.read(path)
    with pytest.raises(DataError, match="does not exist"):
        predictions.read(tmp_path / "absent.json")


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="score nan"):
        predictions.write(tmp_path / "p.json", [{**GOOD, "score": float("nan")}], {})
    assert list(tmp_path.iterdir()) == []


ODD_TEXT = [
    (
        b'[{"image_id": %s, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]' % (b"9" * 5000),
        "image_id inf",
    ),
    (
        b'[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1, "score": 2}]',
        "'score' stands twice",
    ),
    (b"[" * 100000, "not whole JSON"),
    (b"\x1f\x8b\x08\x00", "it is a gzip file: unpack it first"),
    (b'{"image_id": 1}\n{"image_id": 2}\n', "JSON lines"),
    (b"<!DOCTYPE html><html>", "it is an HTML page: download the file itself"),
]


@pytest.mark.parametrize(("text", "message"), ODD_TEXT, ids=[m for _, m in ODD_TEXT])
def test_text_that_no_parser_should_meet_unprepared(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "p.json").write_bytes(text)
    with pytest.raises(DataError, match=message):
        predictions.read(tmp_path / "p.json")


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode())
    assert predictions.read(tmp_path / "p.json").scores.tolist() == [0.25]
