"""Annotation files as people have them: odd is legal, broken is refused with the row and the value."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from wsl_det import predictions
from wsl_det.errors import DataError
from wsl_det.evaluation import evaluate, ground_truth, match_table, matching

ODD: dict[str, Any] = {
    "images": [{"id": 0, "height": 40, "width": 50}, {"id": 12, "height": 40, "width": 50}],
    "categories": [{"id": 3, "name": "facade"}, {"id": 0, "name": "facade"}, {"id": 9, "name": "door"}],
    "annotations": [
        {"id": 0, "image_id": 12, "category_id": 3, "bbox": [-5, 5, 20, 10], "area": 200.0, "iscrowd": 0,
         "segmentation": [[-5, 5, 15, 5, 15, 15, -5, 15]]},
        {"id": 7, "image_id": 0, "category_id": 9, "bbox": [1, 1, 0, 0], "area": 0,
         "segmentation": [[1, 1, 1, 1, 1, 1]]},
    ],
}  # fmt: skip
HIT = {"image_id": 12, "category_id": 3, "bbox": [-5, 5, 20, 10], "score": 0.5}


def test_odd_files_work_and_repeated_names_carry_their_id() -> None:
    results = evaluate(ODD, [HIT], ["bbox"])
    assert list(results["bbox"]["AP_by_class"]) == ["facade (id 0)", "facade (id 3)", "door"]
    by_class = results["bbox"]["AP_by_class"]
    # Annotation 0 would never match in pycocotools; here it does.
    assert by_class["facade (id 3)"]["AP"] == pytest.approx(100, abs=1e-9)
    assert by_class["facade (id 0)"] == {"AP": None, "AP50": None}
    assert by_class["door"]["AP"] == 0
    assert any("renumbered" in note for note in results["meta"]["notes"])
    assert evaluate(ODD, [], ["segm"])["segm"]["AP"] == 0


def test_no_detections_and_no_annotations_are_defined() -> None:
    none = evaluate({**ODD, "annotations": []}, [HIT])["bbox"]
    assert {none[name] for name in ("AP", "AP50", "APs", "AR100")} == {None}
    empty = evaluate(ODD, [])
    assert set(empty) == {"bbox", "segm", "meta"}
    assert (empty["bbox"]["AP"], empty["bbox"]["APl"], empty["bbox"]["AP_by_class"]["door"]["AP"]) == (
        0,
        None,
        0,
    )


def broken(section: str, row: int, **change: Any) -> dict[str, Any]:
    tree = copy.deepcopy(ODD)
    for key, value in change.items():
        if value is None:
            tree[section][row].pop(key)
        else:
            tree[section][row][key] = value
    return tree


BROKEN = [
    ([], "holds a list; expected a COCO annotation file"),
    ({"images": [], "annotations": []}, "no list 'categories'"),
    ({**ODD, "annotations": {"a": 1}}, "no list 'annotations'"),
    ({**ODD, "images": [5]}, r"images\[0\] is 5"),
    (broken("images", 1, id=0), "images has id 0 more than once"),
    (broken("categories", 1, id=3), "categories has id 3 more than once"),
    (broken("annotations", 1, id=0), "annotations has id 0 more than once"),
    (
        broken("annotations", 1, image_id=1),
        r"annotations\[1\] .id 7. has image_id 1, not among the 2 ids of images",
    ),
    (broken("annotations", 0, category_id=4), "category_id 4, not among the 3 ids of categories"),
    (broken("annotations", 0, bbox=None), r"annotations\[0\] .id 0. has no 'bbox'"),
    (broken("annotations", 0, area=None), "has no 'area'"),
    (broken("annotations", 0, image_id=None), "has no 'image_id'"),
    (broken("images", 0, id=None), r"images\[0\] .id None. has no 'id'"),
    (broken("annotations", 0, image_id="12"), r"image_id '12' \(str\)"),
    (broken("annotations", 0, bbox=[1, 2, -3, 4]), "width and height are finite and 0 or more"),
    (broken("annotations", 0, bbox=[1, 2, 3]), "expected .x, y, width, height."),
    (broken("annotations", 0, area="big"), "has area 'big'; expected a number"),
]


@pytest.mark.parametrize(("tree", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_broken_files_are_refused(tree: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ground_truth.from_tree(tree)


def test_masks_need_segmentations_and_sizes() -> None:
    rle = {"image_id": 12, "category_id": 3, "score": 1, "segmentation": {"size": [40, 50], "counts": [2000]}}
    with pytest.raises(DataError, match="masks need RLE or polygons"):
        evaluate(broken("annotations", 1, segmentation=None), [rle], ["segm"])
    with pytest.raises(DataError, match="without height and width"):
        evaluate(broken("images", 1, height=None), [rle], ["segm"])
    with pytest.raises(DataError, match="cannot be scored by segm: its rows carry bbox only"):
        evaluate(ODD, [HIT], ["segm"])


def test_match_table_is_a_file_of_its_own(tmp_path: Any) -> None:
    table = matching.match(predictions.columns([HIT], source="r"), ground_truth.from_tree(ODD), "bbox")
    assert table.matched[:, 0].tolist() == [1] * 12
    table.save(tmp_path / "t.npz")
    back = match_table.load(tmp_path / "t.npz")
    for name, value in vars(table).items():
        np.testing.assert_array_equal(getattr(back, name), value)
    (tmp_path / "half.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="not a whole"):
        match_table.load(tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="another schema"):
        match_table.load(tmp_path / "other.npz")
