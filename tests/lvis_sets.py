"""Small federated test sets, and what the lvis package and hotcoco say of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
from pathlib import Path
from typing import Any

import coco_sets
import numpy as np
import pytest

METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300", "ARs", "ARm", "ARl"]


def make(
    rng: np.random.Generator,
    *,
    images: int = 8,
    classes: int = 5,
    crowded: int = 0,
    negatives: float = 0.4,
    open_classes: float = 0.2,
    score_digits: int = 1,
    flags: bool = False,
    masks: bool = False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and detections by image and class; ids of images and categories begin at 0.

    crowded: detections more on the first image. negatives, open_classes: how many of the classes an image
    lists as absent, and as not annotated exhaustively. flags: some objects have ignore or iscrowd.
    """
    truth, results = coco_sets.make(
        rng, images=images, classes=classes, crowd_rate=0.0, score_digits=score_digits, masks=masks
    )
    ids = [category["id"] for category in truth["categories"]]
    for category, band in zip(truth["categories"], rng.choice(list("rcf"), len(ids)), strict=True):
        category |= {"frequency": str(band), "synset": f"thing.n.{category['id']:02d}", "image_count": 3}
    # Few images show a class, as in LVIS.
    truth["annotations"] = [a for a in truth["annotations"] if rng.random() < 0.7]
    for i, annotation in enumerate(truth["annotations"]):
        annotation["id"] = i + 1
        annotation.pop("iscrowd")
        if flags and rng.random() < 0.3:
            annotation[str(rng.choice(["ignore", "iscrowd"]))] = 1
    for image in truth["images"]:
        shown = {a["category_id"] for a in truth["annotations"] if a["image_id"] == image["id"]}
        absent = [k for k in ids if k not in shown and rng.random() < negatives]
        some = [k for k in ids if (k in shown or rng.random() < 0.1) and rng.random() < open_classes]
        image |= {"neg_category_ids": absent, "not_exhaustive_category_ids": some}
        image["coco_url"] = f"http://images.example/val2017/{image.pop('file_name')}"
    for _ in range(crowded):
        box = [float(v) for v in (*rng.uniform(0, 150, 2), *rng.uniform(4, 80, 2))]
        shape = {"segmentation": coco_sets.rle_of(box)} if masks else {}
        results.append(
            {"image_id": 0, "category_id": int(rng.choice(ids)), "bbox": box, **shape}
            | {"score": round(float(rng.random()), score_digits)}
        )
    order = rng.permutation(len(results))
    return truth, [results[i] for i in order]


def lvis(
    truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str, folder: Path
) -> dict[str, np.ndarray]:
    """The lvis package's 13 numbers and AP by class (10, K), in percent, nan where undefined."""
    from lvis import LVISEval

    (folder / "gt.json").write_text(json.dumps(truth))
    logging.getLogger("lvis").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", float, raising=False)  # numpy took the alias away, lvis still has it
        judge = LVISEval(str(folder / "gt.json"), _rows(results, iou_type), iou_type)
        judge.run()
    return _verdict(judge.get_results(), judge.eval["precision"][..., 0])


def hotcoco(
    truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str, folder: Path
) -> dict[str, np.ndarray]:
    """The same from hotcoco."""
    from hotcoco import LVIS, LVISEval, LVISResults

    (folder / "gt.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        known = LVIS(str(folder / "gt.json"))
        judge = LVISEval(known, LVISResults(known, _rows(results, iou_type)), iou_type)
        judge.run()
    return _verdict(judge.get_results(), np.asarray(judge.eval["precision"])[..., 0, 0])


def _rows(results: list[dict[str, Any]], iou_type: str) -> list[dict[str, Any]]:
    """What the peer may write into: for masks without boxes, whose area it would take, as Detectron2 does."""
    gone = "bbox" if iou_type == "segm" else "segmentation"
    return copy.deepcopy([{k: v for k, v in row.items() if k != gone} for row in results])


def _verdict(numbers: dict[str, float], precision: np.ndarray) -> dict[str, np.ndarray]:
    named = {name.replace("@300", "300" if name == "AR@300" else ""): v for name, v in numbers.items()}
    by_class = precision.mean(axis=1)
    return {
        "metrics": np.array([np.nan if named[name] < 0 else 100 * named[name] for name in METRICS]),
        "by_class": 100 * np.where(precision[:, 0] < 0, np.nan, by_class),
    }
