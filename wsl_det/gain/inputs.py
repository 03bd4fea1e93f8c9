"""What may be compared: files, lists of detections, pycocotools' COCO, supervision's Detections by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.errors import DataError
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.predictions import Predictions

Truth = str | Path | Mapping[str, Any] | Any
One = str | Path | Sequence[Mapping[str, Any]] | Mapping[Any, Any] | Any


def path_of(given: Any) -> str | Path | None:
    """The file that was given, or None for what is in memory."""
    return given if isinstance(given, str | Path) else None


def ground_truth(given: Truth, protocol: str | None = None) -> GroundTruth:
    """The ground truth of an annotation file, of its tree, or of a pycocotools ``COCO``.

    ``protocol`` refuses one that is scored by another.
    """
    path = path_of(given)
    if path is not None:
        truth = reader.read(path)
    else:
        truth = reader.from_tree(getattr(given, "dataset", given), "the ground truth")
    protocols.of(truth, protocol)
    reader.check_scored(truth)
    return truth


@dataclass(frozen=True)
class Training:
    """How often the K classes of a test set stand in the annotations trained on: images and objects (K,)."""

    images: np.ndarray
    objects: np.ndarray


def training(train_gt: str | Path, truth: GroundTruth) -> Training:
    """The counts of the annotations that both sides were trained on; classes are found by name."""
    trained = reader.read(train_gt, "training annotations")
    names = list(trained.category_names)
    place = {name: k for k, name in enumerate(names)}
    if absent := [name for name in truth.category_names if name not in place]:
        raise DataError(
            f"{trained.source} has no category {absent[0]!r:.80}, which {truth.source} has; --train-gt "
            "is the annotation file that both sides were trained on"
        )
    if len(place) < len(names) and names != list(truth.category_names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{trained.source}: category {twice!r:.80} stands twice, and {truth.source} has others"
        )
    # Equal lists go by the order of ids, so that categories of one name stay apart.
    order = (
        np.arange(len(names))
        if names == list(truth.category_names)
        else np.array([place[name] for name in truth.category_names])
    )
    return Training(trained.images_of_classes()[order], trained.class_counts()[order])


def runs(given: One | Sequence[One]) -> list[Any]:
    """The runs of a side: one thing is one run, a list of things that are no detections is several."""
    if isinstance(given, list | tuple) and given and not all(_is_row(one) for one in given):
        return list(given)
    return [given]


def detections(given: One, truth: GroundTruth, source: str) -> Predictions:
    """One run as columns; ``source`` names what has no path. Raises DataError for what is none of these."""
    path = path_of(given)
    if path is not None:
        return predictions.read(path)
    if isinstance(given, Mapping):
        return predictions.columns(_rows(given, truth, source), source=source)
    if hasattr(given, "dataset"):  # what COCO.loadRes returns
        keys = ("image_id", "category_id", "bbox", "segmentation", "score")
        listed = given.dataset.get("annotations", [])
        given = [{key: row[key] for key in keys if key in row} for row in listed]
    return predictions.columns(given, source=source)


def _is_row(one: Any) -> bool:
    return isinstance(one, Mapping) and "image_id" in one


def _rows(by_image: Mapping[Any, Any], truth: GroundTruth, source: str) -> list[dict[str, Any]]:
    """COCO rows of supervision's ``Detections`` by image id or file name; class_id counts the categories."""
    ids = {int(i): int(i) for i in truth.image_ids}
    files = dict(zip(truth.file_names, ids, strict=True))
    rows = []
    for image, found in by_image.items():
        image_id = ids.get(int(image)) if isinstance(image, int | np.integer) else files.get(str(image))
        if image_id is None:
            raise DataError(f"{source}: image {str(image)[:80]!r} is no id or file name of {truth.source}")
        columns = [getattr(found, name, None) for name in ("xyxy", "confidence", "class_id")]
        if len(found) and any(column is None for column in columns):
            raise DataError(
                f"{source}: image {image_id} has a {type(found).__name__}; expected supervision Detections "
                "with xyxy, confidence and class_id"
            )
        for box, score, label in zip(*columns, strict=True) if len(found) else ():
            if not 0 <= int(label) < len(truth.category_ids):
                raise DataError(
                    f"{source}: image {image_id} has class_id {label}; expected 0 to "
                    f"{len(truth.category_ids) - 1}, the place of a category in the order of their ids"
                )
            x0, y0, x1, y1 = (float(value) for value in box)
            rows.append({"image_id": image_id, "category_id": int(truth.category_ids[int(label)])}
                        | {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(score)})  # fmt: skip
    return rows
