"""COCO files as people have them: the odd ones work, the broken ones are refused by name."""

from __future__ import annotations

import json

import pytest

from wsl_det.detector import coco_records, datasets
from wsl_det.errors import ConfigError, DataError

SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


def tree(**changes):
    """Two images of 100 x 80, categories 0, 3 and 7 of which 0 and 7 share a name."""
    base = {
        "images": [
            {"id": 5, "file_name": "b.jpg", "height": 80, "width": 100},
            {"id": 0, "file_name": "a.jpg", "height": 80, "width": 100},
        ],
        "categories": [{"id": 7, "name": "facade"}, {"id": 0, "name": "facade"}, {"id": 3, "name": "car"}],
        "annotations": [annotation(0, category_id=7), annotation(1, image_id=5, category_id=3)],
    }
    return {**base, **changes}


def annotation(number, **changes):
    base = {"id": number, "image_id": 0, "category_id": 3, "bbox": [10, 10, 20, 20], "segmentation": SQUARE}
    return {**base, **changes}


def read(tmp_path, content):
    path = tmp_path / "gt.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return coco_records.read(path, tmp_path, "set")


def test_ids_from_zero_gaps_and_repeated_names_work(tmp_path):
    found = read(tmp_path, tree())
    assert [r.image_id for r in found.records] == [0, 5]
    assert found.category_ids == (0, 3, 7)
    assert found.class_names == ("facade (id 0)", "car", "facade (id 7)")
    assert [a.category for r in found.records for a in r.annotations] == [2, 1]
    assert found.records[0].annotations[0].box_xyxy == (10, 10, 30, 30)
    assert found.notes == {}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"segmentation": [[10, 10, 20, 20, 30, 30]]}, "objects whose polygons have no area left out"),
        ({"segmentation": [[10, 10, 20, 20]]}, "objects whose polygons have no area left out"),
        ({"bbox": [10, 10, 0, 5]}, "boxes without an area left out"),
        ({"bbox": [10, 10, -3, 5]}, "boxes without an area left out"),
        ({"bbox": [100, 10, 5, 5]}, "boxes outside their image left out"),
    ],
)
def test_what_has_no_area_is_left_out_and_counted(tmp_path, changes, note):
    found = read(tmp_path, tree(annotations=[annotation(0, **changes), annotation(1)]))
    assert [len(r.annotations) for r in found.records] == [1, 0]
    assert found.notes == {note: 1}
    assert note in coco_records.describe(found)


def test_boxes_over_the_border_are_kept_and_counted(tmp_path):
    found = read(tmp_path, tree(annotations=[annotation(0, bbox=[90, 70, 30, 30])]))
    assert len(found.records[0].annotations) == 1
    assert found.notes == {"boxes over the border clipped": 1}


def test_only_the_parts_with_an_area_stay(tmp_path):
    bow_tie = [10, 10, 30, 30, 30, 10, 10, 30]  # signed area 0, covers pixels
    found = read(tmp_path, tree(annotations=[annotation(0, segmentation=[[1, 1, 2, 2, 3, 3], bow_tie])]))
    (shape,) = found.records[0].annotations[0].segmentation
    assert shape.tolist() == bow_tie


def test_crowds_are_read_but_not_trained_on(tmp_path):
    rle = {"size": [80, 100], "counts": [100, 50, 80 * 100 - 150]}
    found = read(tmp_path, tree(annotations=[annotation(0, segmentation=rle, iscrowd=1), annotation(1)]))
    assert [a.crowd for a in found.records[0].annotations] == [True, False]
    assert len(found.records[0].objects) == 1
    assert isinstance(found.records[0].annotations[0].segmentation["counts"], bytes)
    assert "1 crowd regions" in coco_records.describe(found)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        coco_records.read(tmp_path / "none.json", tmp_path, "set")


def test_no_annotations_is_an_error_for_training_only(tmp_path):
    bare = {k: v for k, v in tree().items() if k != "annotations"}
    found = read(tmp_path, bare)
    assert len(found.records) == 2
    with pytest.raises(DataError, match=r"no annotations.*--eval-only"):
        coco_records.training_records([found], masks="polygon", keep_empty=False)


def test_training_records_leave_out_images_without_objects(tmp_path):
    crowd = annotation(1, image_id=5, iscrowd=1)
    found = read(tmp_path, tree(annotations=[annotation(0), crowd]))
    assert len(coco_records.training_records([found], masks="polygon", keep_empty=False)) == 1
    assert len(coco_records.training_records([found], masks="polygon", keep_empty=True)) == 2
    only_crowds = read(tmp_path, tree(annotations=[crowd]))
    with pytest.raises(DataError, match="no object is left"):
        coco_records.training_records([only_crowds], masks=None, keep_empty=True)


def test_shapes_must_suit_the_mask_format(tmp_path):
    rle = annotation(0, segmentation={"size": [80, 100], "counts": [0, 8000]})
    found = read(tmp_path, tree(annotations=[rle]))
    with pytest.raises(DataError, match=r"INPUT\.MASK_FORMAT bitmask"):
        coco_records.training_records([found], masks="polygon", keep_empty=False)
    assert coco_records.training_records([found], masks="bitmask", keep_empty=False)
    boxes_only = read(tmp_path, tree(annotations=[annotation(0, segmentation=[])]))
    assert coco_records.training_records([boxes_only], masks=None, keep_empty=False)
    with pytest.raises(DataError, match="MASK_ON False"):
        coco_records.training_records([boxes_only], masks="polygon", keep_empty=False)
    some = read(tmp_path, tree(annotations=[annotation(0, segmentation=[]), annotation(1)]))
    (kept,) = coco_records.training_records([some], masks="polygon", keep_empty=False)
    assert len(kept.objects) == 1


def test_names_of_data_sets(tmp_path, monkeypatch):
    known = datasets.registered([["mine", "a.json", str(tmp_path)]])
    assert datasets.locate("mine", known)[1] == tmp_path
    with pytest.raises(ConfigError, match="given twice"):
        datasets.registered([["mine", "a", "b"], ["mine", "c", "d"]])
    with pytest.raises(ConfigError, match=r"did you mean mine.*--register mime JSON IMAGE_DIR"):
        datasets.locate("mime", known)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(DataError, match="DETECTRON2_DATASETS"):
        datasets.locate("coco_2017_val", {})
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/annotations/instances_val2017.json").write_text("{}")
    with pytest.raises(DataError, match="image folder"):
        datasets.locate("coco_2017_val", {})
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN is empty"):
        datasets.read([], {}, "TRAIN")


def test_number_of_classes_must_be_the_datas(tmp_path):
    found = read(tmp_path, tree())
    datasets.check_num_classes(3, [found])
    with pytest.raises(ConfigError, match=r"NUM_CLASSES is 80.*3 categories"):
        datasets.check_num_classes(80, [found])
