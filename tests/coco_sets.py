"""Small COCO test sets for the evaluation tests, and pycocotools' verdict on them."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np

THRESHOLDS = np.concatenate([[0.1, 0.3], np.linspace(0.5, 0.95, 10)])
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def _polygon(x: float, y: float, w: float, h: float) -> list[float]:
    """An octagon that fills most of the box."""
    cut_x, cut_y = w * 0.3, h * 0.3
    return [
        x + cut_x, y, x + w - cut_x, y, x + w, y + cut_y, x + w, y + h - cut_y,
        x + w - cut_x, y + h, x + cut_x, y + h, x, y + h - cut_y, x, y + cut_y,
    ]  # fmt: skip


def _rle(polygons: list[list[float]], height: int, width: int) -> dict[str, Any]:
    from pycocotools import mask

    rle = mask.merge(mask.frPyObjects(polygons, height, width))
    return {"size": [height, width], "counts": rle["counts"].decode()}


def rle_of(box: list[float], size: int = 240) -> dict[str, Any]:
    """The octagon of a box as the masks of ``make`` have it."""
    return _rle([_polygon(*box)], size, size + 17)


def make(
    rng: np.random.Generator,
    *,
    images: int = 12,
    classes: int = 4,
    objects: int = 5,
    noise: int = 6,
    crowd_rate: float = 0.15,
    score_digits: int = 2,
    masks: bool = True,
    size: int = 240,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations (crowds, empty images, a class without objects, ids with gaps) and detections with ties."""
    image_ids = (np.arange(images) * 3).tolist()
    truth: dict[str, Any] = {
        "images": [{"id": i, "height": size, "width": size + 17, "file_name": f"{i}.jpg"} for i in image_ids],
        "categories": [{"id": 2 * k, "name": f"class {k}"} for k in range(classes + 1)],
        "annotations": [],
    }
    results: list[dict[str, Any]] = []

    def shape(box: list[float]) -> dict[str, Any]:
        return {"segmentation": rle_of(box, size)} if masks else {}

    for image_id in image_ids[: images - 1]:
        for _ in range(rng.poisson(objects)):
            w, h = (float(v) for v in np.exp(rng.uniform(np.log(5), np.log(size * 0.66), 2)))
            box = [float(v) for v in (rng.uniform(-3, size - w), rng.uniform(-3, size - h), w, h)]
            label = int(rng.integers(classes)) * 2
            crowd = bool(rng.random() < crowd_rate)
            segmentation: Any = [_polygon(*box)] if masks else []
            if crowd and masks:
                segmentation = _rle(segmentation, size, size + 17)
            truth["annotations"].append(
                {"id": len(truth["annotations"]), "image_id": image_id, "category_id": label, "bbox": box,
                 "area": w * h * 0.8, "iscrowd": int(crowd), "segmentation": segmentation}
            )  # fmt: skip
            for _ in range(rng.integers(0, 3 if not crowd else 6)):
                moved = [b + float(rng.normal(0, 0.12 * (w if i % 2 == 0 else h))) for i, b in enumerate(box)]
                moved[2:] = [max(v, 1.0) for v in moved[2:]]
                name = label if rng.random() > 0.2 else int(rng.integers(classes + 1)) * 2
                results.append(_row(image_id, name, moved, rng, score_digits) | shape(moved))
        for _ in range(rng.poisson(noise)):
            w, h = rng.uniform(4, size / 2, 2)
            box = [float(v) for v in (rng.uniform(0, size - w), rng.uniform(0, size - h), w, h)]
            name = int(rng.integers(classes + 1)) * 2
            results.append(_row(image_id, name, box, rng, score_digits) | shape(box))
    rng.shuffle(results)  # type: ignore[arg-type]
    return truth, results


def _row(image_id: int, name: int, box: list[float], rng: np.random.Generator, digits: int) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": name,
        "bbox": box,
        "score": round(float(rng.random()), digits),
    }


def reference(truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str) -> dict[str, Any]:
    """pycocotools' numbers in percent, nan for its -1; annotation ids renumbered from 1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = copy.deepcopy(truth)
    for i, annotation in enumerate(truth["annotations"], start=1):
        annotation["id"] = i
    rows = [{k: v for k, v in r.items() if not (k == "bbox" and iou_type == "segm")} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        runs = []
        for thresholds in (None, THRESHOLDS):
            run = COCOeval(gt, gt.loadRes(copy.deepcopy(rows)), iou_type)
            if thresholds is not None:
                run.params.iouThrs = thresholds
            run.evaluate()
            run.accumulate()
            runs.append(run)
        runs[0].summarize()
    precision = runs[1].eval["precision"][:, :, :, 0, 2]
    per_class = np.where(precision[:, 0] > -1, precision.mean(1), np.nan)
    stats = np.where(runs[0].stats > -1, runs[0].stats, np.nan)
    return {"metrics": dict(zip(METRICS, 100 * stats, strict=True)), "by_class": 100 * per_class}
