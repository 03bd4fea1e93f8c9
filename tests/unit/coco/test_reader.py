"""Annotation files as people have them: odd is legal, broken is refused with file, id, value and remedy."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.detector import coco_records
from wsl_det.errors import DataError
from wsl_det.evaluation import evaluate, match_table, matching

ODD: dict[str, Any] = {
    "images": [
        {"id": 0, "height": 40, "width": 50, "file_name": "a.jpg"},
        {"id": 12, "height": 40, "width": 50, "file_name": "b.jpg"},
    ],
    "categories": [{"id": 3, "name": "facade"}, {"id": 0, "name": "facade"}, {"id": 9, "name": "door"}],
    "annotations": [
        {"id": 0, "image_id": 12, "category_id": 3, "bbox": [-5, 5, 20, 10], "area": 200.0, "iscrowd": 0,
         "segmentation": [[-5, 5, 15, 5, 15, 15, -5, 15]]},
        {"id": 7, "image_id": 0, "category_id": 9, "bbox": [1, 1, 0, 0], "area": 0,
         "segmentation": [[1, 1, 1, 1, 1, 1]]},
    ],
}  # fmt: skip
HIT = {"image_id": 12, "category_id": 3, "bbox": [-5, 5, 20, 10], "score": 0.5}
GONE = object()


def changed(section: str, row: int, **change: Any) -> dict[str, Any]:
    tree = copy.deepcopy(ODD)
    for key, value in change.items():
        if value is GONE:
            tree[section][row].pop(key)
        else:
            tree[section][row][key] = value
    return tree


def write(folder: Path, content: Any) -> Path:
    path = folder / "gt.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


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


BROKEN = [
    ('{"images": [', "not whole JSON .*truncated"),
    ("", "not whole JSON"),
    (b"\x1f\x8b\x08\x00\x00", "it is a gzip file: unpack it first"),
    (b"version https://git-lfs.github.com/spec/v1\n", "it is a git-lfs pointer: run git lfs pull"),
    (b"/annex/objects/MD5E-s9--x.json\n", "it is a git-annex pointer: run git annex get"),
    (json.dumps(ODD) + "\n" + json.dumps(ODD) + "\n", "JSON lines"),
    ("[" * 100_000, "not whole JSON"),
    ([], "holds a list; expected a COCO annotation file"),
    ({"images": [{"id": 1}], "annotations": []}, "has no 'categories'; found"),
    ({**ODD, "annotations": {"a": 1}}, "'annotations' is a dict; expected a list"),
    ({**ODD, "annotations": None}, "'annotations' is a NoneType"),
    ({**ODD, "images": []}, "lists no images"),
    ({**ODD, "categories": []}, "lists no categories"),
    ({**ODD, "images": [5]}, "image number 0 is 5; expected an object"),
    (changed("images", 1, id=0), "image id 0 stands twice"),
    (changed("categories", 1, id=3), "category id 3 stands twice"),
    (changed("annotations", 1, id=0), "annotation id 0 stands twice"),
    (json.dumps(ODD).replace('"annotations": [', '"annotations": [], "annotations": ['), "stands twice"),
    (json.dumps(ODD).replace('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 1'), "'iscrowd' stands twice"),
    # msgspec keeps the last of two, which would be scored without a word.
    *(
        (json.dumps(tree).replace(f'"{key}": ', f'"{key}": {first}, "{key}": '), f"'{key}' stands twice")
        for key, first, tree in (
            ("neg_category_ids", "[9]", changed("images", 0, neg_category_ids=[])),
            ("not_exhaustive_category_ids", "[9]", changed("images", 0, not_exhaustive_category_ids=[])),
            ("frequency", '"r"', changed("categories", 0, frequency="f")),
            ("ignore", "1", changed("annotations", 0, ignore=0)),
        )
    ),
    (changed("annotations", 1, image_id=1), "annotation 7 refers to image 1, which is not among the 2"),
    (changed("annotations", 0, category_id=4), "annotation 0 refers to category 4, which is not among the 3"),
    (changed("annotations", 1, bbox=GONE), "annotation 7 has no 'bbox'"),
    (changed("annotations", 0, image_id=GONE), "annotation 0 has no 'image_id'"),
    (changed("images", 1, id=GONE), "image number 1 has no 'id'"),
    (changed("categories", 1, name="\ud800"), "category 0 has name '.*ud800'; expected a text"),
    (changed("images", 1, file_name="\udcff.jpg"), "image 12 has file_name"),
    (changed("images", 1, id="\ud800"), "image '.*ud800' cannot be read"),
    (changed("categories", 1, name=GONE), "category 0 has no 'name'"),
    (changed("annotations", 0, image_id="12"), r"annotation 0 has image_id '12' \(str\); expected a whole"),
    (changed("annotations", 0, id=True), r"annotation True has id True \(bool\)"),
    (changed("annotations", 0, category_id=3.0), r"category_id 3.0 \(float\)"),
    (changed("annotations", 0, bbox=[1, 2, 3]), r"annotation 0 has bbox \[1, 2, 3\]; expected .x, y, width"),
    (changed("annotations", 0, bbox=[1, 2, 3, float("nan")]), "annotation 0 has bbox"),
    (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "annotation 0 has bbox"),
    (changed("annotations", 0, bbox=[1, 2, 3, 1e308]), "annotation 0 has bbox"),
    (changed("annotations", 0, bbox=[1, 2, 3, 10**400]), "annotation 0 has bbox"),
    (changed("annotations", 0, bbox=None), "annotation 0 has bbox None"),
    (changed("annotations", 0, area="big"), r"annotation 0 has area 'big' \(str\); expected a number"),
    (changed("annotations", 0, area=float("nan")), "annotation 0 has area nan"),
    (changed("annotations", 0, area=float("inf")), "annotation 0 has area inf"),
    (changed("annotations", 0, area=1e11), "annotation 0 has area 1"),
    (changed("annotations", 0, area=-1), "annotation 0 has area -1"),
    (changed("annotations", 0, ignore=1), "annotation 0 has ignore = 1.*use iscrowd"),
    (changed("images", 0, height=0), "image 0 has height 0; expected a whole number of pixels above 0"),
    (changed("images", 0, height="40"), r"image 0 has height '40' \(str\)"),
    (changed("images", 0, height=2**64), "image 0 has height 18446744073709551616"),
    (changed("images", 0, height=10**6, width=10**6), "image 0 is 1000000 x 1000000 pixels"),
    (changed("images", 0, file_name=5), r"image 0 has file_name 5 \(int\); expected the name of a file"),
    (changed("images", 1, id=2**64), "image 18446744073709551616 has id 18446744073709551616"),
    (changed("annotations", 1, image_id=2**63), "annotation 7 has image_id 9223372036854775808"),
    (json.dumps(ODD).replace('"id": 7', '"id": ' + "7" * 5000), "has id inf"),
    (json.dumps(ODD).replace('"id": 7', '"id": [' + "[" * 900 + "]" * 900 + "]"), "has id"),
]
BROKEN += [
    (changed("annotations", 0, **{flag: value}), f"annotation 0 has {flag} .*; expected 0, 1, true or false")
    for flag in ("iscrowd", "ignore")
    for value in ("0", "1", "false", "", 2, -1, 0.5, None, [], [0], {}, float("nan"))
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_broken_files_are_refused_at_both_doors(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as training:
        coco_records.read(path, tmp_path, "set")
    with pytest.raises(DataError, match=message) as scoring:
        evaluate(path, [HIT])
    assert "gt.json" in str(training.value)
    assert "gt.json" in str(scoring.value)


@pytest.mark.parametrize("value", [0, 1, False, True, 0.0, 1.0])
def test_flags_are_0_1_true_or_false(tmp_path: Path, value: object) -> None:
    path = write(tmp_path, changed("annotations", 0, iscrowd=value))
    assert reader.read(path).object_crowd.tolist() == [False, bool(value)]
    assert reader.read(write(tmp_path, changed("annotations", 0, ignore=False))).num_objects == 2


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    assert reader.read(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(ODD).encode())).num_objects == 2


def test_large_files_are_judged_as_small_ones(tmp_path: Path) -> None:
    """A damaged value far beyond the first quarter of a megabyte; brackets balance."""
    tree = copy.deepcopy(ODD)
    tree["annotations"] += [
        {**ODD["annotations"][0], "id": 100 + i, "attributes": {"note": "x" * 40}} for i in range(4000)
    ]
    text = json.dumps(tree)
    assert len(text) > 1 << 19
    assert reader.read(write(tmp_path, text)).num_objects == 4002
    for damage in (("note", "no\x01te"), ('"x', '"\\x'), ('40, "width"', '40 "width"'), ("[-5,", "[-05,")):
        with pytest.raises(DataError, match="not whole JSON"):
            reader.read(write(tmp_path, text.replace(*damage)))
    with pytest.raises(DataError, match="not whole JSON"):
        reader.read(write(tmp_path, text.encode().replace(b'"xx', b'"\xff', 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area": GONE}, "annotation 0 has no 'area', which scoring needs"),
        ({"area": None}, "annotation 0 has no 'area', which scoring needs"),
        ({"bbox": [1, 2, -3, 4]}, r"annotation 0 has a bbox of negative width .*\[1.0, 2.0, -3.0, 4.0\]"),
    ],
)
def test_what_one_can_train_on_and_not_score(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, changed("annotations", 0, **change))
    assert len(coco_records.read(path, tmp_path, "set").records) == 2
    with pytest.raises(DataError, match=message):
        evaluate(path, [HIT])


def test_masks_need_segmentations_and_sizes() -> None:
    rle = {"image_id": 12, "category_id": 3, "score": 1, "segmentation": {"size": [40, 50], "counts": [2000]}}
    with pytest.raises(DataError, match="annotation 7 has no segmentation; masks need polygons"):
        evaluate(changed("annotations", 1, segmentation=None), [rle], ["segm"])
    with pytest.raises(DataError, match="row 0 has a segmentation, but its image has no height"):
        evaluate(changed("images", 1, height=GONE), [rle], ["segm"])
    with pytest.raises(DataError, match="cannot be scored by segm: its rows carry bbox only"):
        evaluate(ODD, [HIT], ["segm"])


def federated() -> dict[str, Any]:
    tree = copy.deepcopy(ODD)
    for image, negative in zip(tree["images"], ([9], [0, 9]), strict=True):
        name = image.pop("file_name")
        image |= {
            "coco_url": f"http://images.example/val2017/{name}",
            "neg_category_ids": negative,
            "not_exhaustive_category_ids": [3],
        }
    for category, count in zip(tree["categories"], (12, 3, 0), strict=True):
        category |= {"frequency": "r", "synset": f"thing.n.0{category['id']}", "image_count": count}
    for annotation in tree["annotations"]:
        annotation.pop("iscrowd", None)
    return tree


def test_lvis_is_read_and_kept_and_scored_as_lvis(tmp_path: Path) -> None:
    path = write(tmp_path, federated())
    truth = reader.read(path)
    assert truth.federated is not None
    assert [classes.tolist() for classes in truth.federated.negative] == [[2], [0, 2]]
    assert [classes.tolist() for classes in truth.federated.not_exhaustive] == [[1], [1]]
    assert truth.category_frequency == ["r", "r", "r"]
    assert truth.category_synsets == [f"thing.n.0{i}" for i in truth.category_ids]
    assert truth.category_image_count is not None
    assert truth.category_image_count.tolist() == [3, 12, 0]
    records = coco_records.read(path, tmp_path, "set").records
    assert [r.path for r in records] == [tmp_path / "val2017/a.jpg", tmp_path / "val2017/b.jpg"]
    assert evaluate(path, [HIT])["meta"]["protocol"] == "lvis"
    one = truth.without_images(np.array([True, False]))
    assert one.federated is not None
    assert [classes.tolist() for classes in one.federated.negative] == [[0, 2]]
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        tree = federated()
        for image in tree["images"]:
            image.pop(key)
        with pytest.raises(DataError, match=f"federated.*image 0 has no {key}"):
            evaluate(tree, [HIT])
        tree["images"][0][key] = [4]
        with pytest.raises(DataError, match=f"image 0 has {key} with 4, which is not among the categories"):
            reader.from_tree(tree)
        tree["images"][0][key] = "none"
        with pytest.raises(DataError, match=f"image 0 has {key} 'none'"):
            reader.from_tree(tree)


@pytest.mark.parametrize(("field", "value"), [("frequency", "x"), ("synset", 3), ("image_count", -1)])
def test_what_lvis_says_of_categories_is_checked(field: str, value: Any) -> None:
    tree = federated()
    tree["categories"][1][field] = value
    with pytest.raises(DataError, match=rf"category 0 has {field} .*expected"):
        reader.from_tree(tree)
    for image in tree["images"]:
        image.pop("neg_category_ids")
        image.pop("not_exhaustive_category_ids")
    unknown = reader.from_tree(tree)  # in another file the field may mean anything
    assert "" in {unknown.category_frequency[0], unknown.category_synsets[0]} or field == "image_count"


def test_lvis_reads_ignore_and_not_iscrowd() -> None:
    tree = federated()
    tree["annotations"][0]["iscrowd"] = 1
    tree["annotations"][1]["ignore"] = 1
    truth = reader.from_tree(tree)
    assert truth.federated is not None
    assert not truth.object_crowd.any()
    assert truth.federated.crowd_flags == 1
    ignored = truth.object_ids == tree["annotations"][1]["id"]
    assert truth.object_counts.tolist() == (~ignored).tolist()


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "a/../../b.jpg", "", "a\0b", GONE])
def test_photos_lie_below_their_folder(tmp_path: Path, name: Any) -> None:
    path = write(tmp_path, changed("images", 1, file_name=name))
    with pytest.raises(DataError, match=r"image 12 has (file_name .*leaves the image folder|no 'file_name')"):
        coco_records.read(path, tmp_path, "set")


def boxes(change: Any, count: int = 12, masks: bool = True) -> dict[str, Any]:
    """``count`` objects on an image of 200 x 100 whose boxes went through ``change``."""
    rng = np.random.default_rng(0)
    objects = []
    for i in range(count):
        x, y, w, h = (float(v) for v in (*rng.uniform(20, 60, 2), *rng.uniform(10, 30, 2)))
        outline = [[x, y, x + w, y, x + w, y + h, x, y + h]] if masks else None
        objects.append({"id": i, "image_id": 12, "category_id": 3, "bbox": change(x, y, w, h), "area": w * h,
                        "segmentation": outline})  # fmt: skip
    tree = changed("images", 1, height=100, width=200)
    return {**tree, "annotations": objects}


@pytest.mark.parametrize("masks", [True, False])
def test_fractions_and_corners_are_no_boxes(masks: bool) -> None:
    assert reader.from_tree(boxes(lambda x, y, w, h: [x, y, w, h], masks=masks)).num_objects == 12
    with pytest.raises(DataError, match=r"annotation 0: bbox .* fractions of the image"):
        reader.from_tree(boxes(lambda x, y, w, h: [x / 200, y / 100, w / 200, h / 100], masks=masks))
    far = boxes(lambda x, y, w, h: [x + 90, y, x + 90 + w, y + h], masks=False)
    with pytest.raises(DataError, match=r"inside as \[x0, y0, x1, y1\]; bbox is \[x, y, width, height\]"):
        reader.from_tree(far)


def test_boxes_that_disagree_with_their_polygons(caplog: pytest.LogCaptureFixture) -> None:
    corners = boxes(lambda x, y, w, h: [x, y, x + w, y + h], count=3)
    with pytest.raises(DataError, match=r"annotation 0: bbox .* agree only if the box is \[x0, y0, x1, y1\]"):
        reader.from_tree(corners)
    with caplog.at_level(logging.WARNING):
        reader.from_tree(boxes(lambda x, y, w, h: [x + 40, y, w, h]))
    assert "does not enclose its polygons, as with 12 of 12" in caplog.text
    caplog.clear()
    reader.from_tree(boxes(lambda x, y, w, h: [x - 9, y - 9, w + 18, h + 18]))
    assert not caplog.text


def test_match_table_is_a_file_of_its_own(tmp_path: Path) -> None:
    table = matching.match(predictions.columns([HIT], source="r"), reader.from_tree(ODD), "bbox")
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


def test_a_link_that_leads_out_of_the_folder_of_photos_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "photos" / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    tree = {"images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 4}], "annotations": []}
    truth = reader.from_tree({**tree, "categories": [{"id": 1, "name": "cat"}]})
    with pytest.raises(
        DataError, match=r"image 7 has file_name 'a\.jpg'.* leaves the image folder by a link"
    ):
        truth.photos(tmp_path / "photos")
