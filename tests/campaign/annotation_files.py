"""Annotations, detections and verdicts: small good files and how tools read them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import reader


def annotations(folder: Path) -> Path:
    """Polygons, an RLE, a crowd, in two images."""
    from pycocotools import mask

    images = [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 24} for i in (1, 2)]
    square = {
        "area": 64,
        "iscrowd": 0,
        "bbox": [4, 4, 8, 8],
        "segmentation": [[4, 4, 12, 4, 12, 12, 4, 12.5]],
    }
    rle = {"size": [24, 32], "counts": [100, 5, 663]}
    text = {
        "size": [24, 32],
        "counts": mask.encode(np.eye(24, 32, dtype=np.uint8, order="F"))["counts"].decode(),
    }
    objects = [
        {"id": 1, "image_id": 1, "category_id": 3, **square},
        {"id": 2, "image_id": 2, "category_id": 7, **square, "segmentation": rle},
        {"id": 3, "image_id": 2, "category_id": 3, **square, "segmentation": text, "iscrowd": 1},
    ]
    categories = [{"id": 3, "name": "red"}, {"id": 7, "name": "blue"}]
    path = folder / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    return path


def _checked(path: Path) -> Any:
    """The ground truth in a file, the same by the quick way and by the slow one."""
    from wsl_det.coco import reader
    from wsl_det.core import rows

    truth = reader.read(path)
    n = len(truth.object_ids)
    assert np.isfinite(truth.object_boxes_xywh).all() and truth.object_boxes_xywh.shape == (n, 4)
    assert n == 0 or (truth.object_image.min() >= 0 and truth.object_image.max() < len(truth.image_ids))
    assert n == 0 or (truth.object_class.min() >= 0 and truth.object_class.max() < len(truth.category_ids))
    assert all(isinstance(name, str) for name in truth.category_names)
    again = reader.from_tree(rows.slow(path, "annotation file"), str(path))
    for name, one in vars(truth).items():
        other = getattr(again, name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, name)
        elif name != "federated":
            # Texts, as NaN equals nothing.
            assert repr(list(one or ())) == repr(list(other or ())), name
    return truth


def _train_on(path: Path, *ways: str | None) -> None:
    from wsl_det.detector import coco_records

    for masks in ways:
        data = coco_records.read(path, path.parent, "train")
        for record in coco_records.training_records([data], masks=masks, keep_empty=True):
            assert all(np.isfinite(a.box_xyxy).all() for a in record.objects)


def _read_annotations(path: Path) -> None:

    _checked(path)
    _train_on(path, None, "bitmask")


def _polygons(folder: Path) -> Path:
    path = annotations(folder)
    tree = json.loads(path.read_text())
    tree["annotations"] = tree["annotations"][:1]
    path.write_text(json.dumps(tree))
    return path


def _read_polygons(path: Path) -> None:
    _train_on(path, "polygon")


def _score_annotations(path: Path) -> None:
    from wsl_det.coco import reader

    reader.check_scored(_checked(path), with_masks=True)


def _lvis(folder: Path) -> Path:
    path = annotations(folder)
    tree = json.loads(path.read_text())
    for image in tree["images"]:
        image |= {"neg_category_ids": [7] if image["id"] == 1 else [], "not_exhaustive_category_ids": [3]}
        image |= {"coco_url": "http://x/1.jpg"}
    for category in tree["categories"]:
        category["frequency"] = "r"
    path.write_text(json.dumps(tree))
    return path


def _read_lvis(path: Path) -> None:

    _checked(path)


def _results(folder: Path) -> Path:
    annotations(folder)
    rle = json.loads((folder / "gt.json").read_text())["annotations"][2]["segmentation"]
    one = {"category_id": 3, "score": 0.75, "bbox": [4.5, 4, 8, 8], "segmentation": rle}
    path = folder / "found.json"
    path.write_text(json.dumps([{"image_id": 1, **one}, {"image_id": 2, **one, "category_id": 7}]))
    return path


def _evaluate(path: Path) -> None:
    from wsl_det import predictions
    from wsl_det.core import rows
    from wsl_det.evaluation import coco_ap

    found = predictions.read(path.with_name("found.json"))
    again = predictions.columns(rows.slow(path.with_name("found.json"), "predictions file"), source="")
    for name in ("image_ids", "category_ids", "scores", "boxes_xywh"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name), name)
    results = coco_ap.evaluate(path.with_name("gt.json"), path.with_name("found.json"), None, None)
    numbers = [v for kind in ("bbox", "segm") for v in results.get(kind, {}).values() if isinstance(v, float)]
    assert all(math.isnan(v) or -1 <= v <= 100.001 for v in numbers)
    assert coco_ap.lines(results)


def _results_header(folder: Path) -> Path:
    from wsl_det import predictions

    found = json.loads(_results(folder).read_text())
    predictions.write(folder / "found.json", found, {"kind": "predictions", "score_threshold": 0.05})
    return folder / "found.meta.json"


def _against(path: Path) -> None:
    from pretrain.duplicates import sources

    (path.parent / "photos").mkdir(exist_ok=True)
    sources.open_test_sets([f"{path}={path.parent / 'photos'}"])


def verdicts_file(folder: Path) -> Path:
    row = {"set": "val", "image": "1.png", "image_id": 1, "train": "a/b", "train_row": 0, "score": 0.9}
    made = {"candidates": {"sha256": "a" * 64}, "train": {"sha256": "b" * 64}}
    sets = [{"name": "val", "kind": "coco", "sha256": "c" * 64, "images": 2}]
    judged = [{"pair": i, **row, "verdict": v} for i, v in enumerate(("yes", "no", "unsure"))]
    value = {"kind": "duplicate verdicts", "schema": 1, "reader": "me", "made_from": made, "sets": sets}
    path = folder / "verdicts.json"
    path.write_text(json.dumps({**value, "pairs": 3, "verdicts": judged}))
    return path


def _read_verdicts(path: Path) -> None:
    from wsl_det.core import verdicts

    found = verdicts.read(path)
    assert sum(found.counts().values()) == found.pairs and found.ancestry()
    verdicts.image_ids(found, "c" * 64, np.arange(3), "gt.json")
    assert verdicts.agreement(found, found)["judged_by_both"] == len(found.rows)
    verdicts.write_settled(path.parent / "out.json", found, found)


READERS = {
    "coco": reader.Reader(annotations, _read_annotations, reader.JSON),
    "coco_polygons": reader.Reader(_polygons, _read_polygons, reader.JSON),
    "coco_test_set": reader.Reader(annotations, _score_annotations, reader.JSON),
    "lvis": reader.Reader(_lvis, _read_lvis, reader.JSON),
    "results": reader.Reader(_results, _evaluate, reader.JSON),
    "results_header": reader.Reader(_results_header, _evaluate, reader.JSON),
    "images_of_test_set": reader.Reader(annotations, _against, reader.JSON),
    "verdicts": reader.Reader(verdicts_file, _read_verdicts, reader.JSON),
}
