"""Annotations -> what training and inference go through: records with contiguous classes.

Classes follow category-id order (Detectron2's rule). What is odd but legal is clipped or left out,
and counted in ``CocoDataset.notes``: polygons without an area, boxes without one or outside the
image, boxes over the border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from wsl_det.coco import masks as mask_runs
from wsl_det.coco import reader, shapes
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.coco.shapes import Shape
from wsl_det.core import log
from wsl_det.errors import DataError


@dataclass(frozen=True)
class Annotation:
    """One object: its box (x1, y1, x2, y2 in pixels), contiguous class and shape.

    segmentation: flat float64 polygons, a COCO RLE dict with compressed counts, or None.
    """

    box_xyxy: tuple[float, float, float, float]
    category: int
    segmentation: Shape
    crowd: bool


@dataclass(frozen=True)
class Record:
    """One image of the json, its file not opened yet; sizes are those after EXIF rotation."""

    image_id: int
    path: Path
    height: int
    width: int
    annotations: tuple[Annotation, ...]

    @property
    def objects(self) -> tuple[Annotation, ...]:
        """What training sees: crowds are not trained on (Detectron2's mapper)."""
        return tuple(a for a in self.annotations if not a.crowd)


@dataclass(frozen=True)
class CocoDataset:
    """One annotation file: records in image-id order, categories in id order; class_names are for tables."""

    name: str
    json_path: Path
    records: tuple[Record, ...]
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    class_names: tuple[str, ...]
    num_annotations: int
    notes: Mapping[str, int] = field(default_factory=dict)


def read(json_path: str | Path, image_dir: str | Path, name: str) -> CocoDataset:
    """The records of an annotation file; images are not opened.

    Raises DataError as ``reader.read``, and for images without size or name, and segmentations that are none.
    """
    return from_truth(reader.read(json_path, f"annotations of {name}"), json_path, image_dir, name)


def from_truth(truth: GroundTruth, json_path: str | Path, image_dir: str | Path, name: str) -> CocoDataset:
    """The records of a ground truth that is read already; raises as ``read``."""
    sizeless = truth.image_sizes[:, 0] < 0
    if sizeless.any():
        raise DataError(
            f"{truth.source}: image {truth.image_ids[np.argmax(sizeless)]} has no 'height' and 'width'; "
            "it needs both"
        )
    paths = truth.photos(Path(image_dir))
    found, notes = _annotations(truth)
    starts = np.searchsorted(truth.object_image, np.arange(len(paths) + 1)).tolist()
    records = tuple(
        Record(i, path, height, width, tuple(a for a in found[first:stop] if a is not None))
        for i, path, (height, width), first, stop in zip(
            truth.image_ids.tolist(), paths, truth.image_sizes.tolist(), starts, starts[1:], strict=False
        )
    )
    return CocoDataset(
        name,
        Path(json_path),
        records,
        tuple(truth.category_ids.tolist()),
        tuple(truth.category_names),
        tuple(truth.class_names),
        truth.num_objects,
        {what: count for what, count in sorted(notes.items()) if count},
    )


def describe(dataset: CocoDataset) -> str:
    """One line for the log: sizes, and what was clipped or left out."""
    objects = sum(len(r.objects) for r in dataset.records)
    crowds = sum(len(r.annotations) for r in dataset.records) - objects
    parts = [
        f"{len(dataset.records)} images",
        f"{objects} objects",
        f"{len(dataset.category_ids)} categories",
    ]
    parts += [f"{crowds} crowd regions (not trained on)"] if crowds else []
    parts += [f"{count} {what}" for what, count in dataset.notes.items()]
    return f"{dataset.name}: " + ", ".join(parts)


def training_records(datasets: Sequence[CocoDataset], *, masks: str | None, keep_empty: bool) -> list[Record]:
    """The records to train on: those with an object, or all with ``keep_empty``.

    ``masks`` is "polygon", "bitmask" or None for boxes only. Raises DataError when nothing is left,
    when the sets' classes differ, and for shapes that the mask format cannot hold.
    """
    first = datasets[0]
    for other in datasets[1:]:
        if other.category_names != first.category_names:
            raise DataError(
                f"{first.name} and {other.name} have different categories; sets trained on together need "
                "the same names in id order"
            )
    for dataset in datasets:
        if dataset.num_annotations == 0:
            raise DataError(
                f"{dataset.json_path} has no annotations, so there is nothing to train on; such a file is "
                "good for --eval-only"
            )
    every = [record for dataset in datasets for record in _with_shapes(dataset, masks)]
    kept = [r for r in every if keep_empty or r.objects]
    if not any(r.objects for r in kept):
        raise DataError(
            f"{', '.join(d.name for d in datasets)}: no object is left to train on "
            "(all are crowds, or without an area)"
        )
    if len(kept) < len(every):
        log.get("coco").info("%d images without objects are left out of training", len(every) - len(kept))
    return kept


def _with_shapes(dataset: CocoDataset, masks: str | None) -> list[Record]:
    """Records whose objects all have a shape that the mask format can hold; shapeless ones are left out."""
    if masks is None:
        return list(dataset.records)
    objects = [(r, a) for r in dataset.records for a in r.objects]
    if objects and all(a.segmentation is None for _, a in objects):
        raise DataError(
            f"{dataset.json_path}: no object has a segmentation; "
            "set MODEL.MASK_ON False to train on boxes only"
        )
    rle = next((r for r, a in objects if isinstance(a.segmentation, dict)), None)
    if masks == "polygon" and rle is not None:
        raise DataError(
            f"{dataset.json_path}: an object of image {rle.image_id} is an RLE mask, which "
            "INPUT.MASK_FORMAT polygon cannot hold; set INPUT.MASK_FORMAT bitmask"
        )
    shapeless = sum(a.segmentation is None for _, a in objects)
    if not shapeless:
        return list(dataset.records)
    log.get("coco").warning("%s: %d objects without a segmentation left out", dataset.name, shapeless)
    kept = [tuple(a for a in r.annotations if a.segmentation is not None) for r in dataset.records]
    return [replace(r, annotations=a) for r, a in zip(dataset.records, kept, strict=True)]


def _annotations(truth: GroundTruth) -> tuple[list[Annotation | None], dict[str, int]]:
    """The objects in order, None for what is left out; how many were left out or clipped, and why."""
    corner = truth.object_boxes_xywh[:, :2]
    far = corner + truth.object_boxes_xywh[:, 2:]
    sizes = truth.object_sizes()[:, ::-1]
    empty = (truth.object_boxes_xywh[:, 2:] <= 0).any(axis=1)
    outside = ~empty & ((corner >= sizes) | (far <= 0)).any(axis=1)
    # Half a pixel of slack: annotation tools round, and clipping that is not worth a word.
    over = ~empty & ~outside & ((corner < -0.5) | (far > sizes + 0.5)).any(axis=1)
    outlines, flat = _shapes(truth)
    flat &= ~empty & ~outside
    notes = {
        "boxes without an area left out": int(empty.sum()),
        "boxes outside their image left out": int(outside.sum()),
        "boxes over the border clipped": int(over.sum()),
        "objects whose polygons have no area left out": int(flat.sum()),
    }
    rows = zip(
        np.concatenate([corner, far], axis=1).tolist(),
        truth.object_class.tolist(),
        outlines,
        truth.object_crowd.tolist(),
        (~empty & ~outside & ~flat).tolist(),
        strict=True,
    )
    return [
        Annotation((*box,), k, shape, crowd) if keep else None for box, k, shape, crowd, keep in rows
    ], notes


def _shapes(truth: GroundTruth) -> tuple[list[Shape], np.ndarray]:
    """Segmentations without the polygons that have no area; (G,) bool of those of which nothing is left."""
    found: list[Shape] = []
    flat = np.zeros(truth.num_objects, dtype=bool)
    runs = []
    for i, (height, width) in enumerate(truth.object_sizes().tolist()):
        try:
            shape = shapes.parse(truth.segmentations[i], height, width)
        except shapes.BadShape as error:
            raise shapes.refuse(truth.annotation(i), error) from None
        if isinstance(shape, dict):
            runs.append(i)
        elif shape:
            shape = [part for part in shape if shapes.has_area(part)]
            flat[i] = not shape
        found.append(shape)
    if runs:
        mask_runs.read(
            [found[i] for i in runs], truth.object_sizes()[runs], lambda k: truth.annotation(runs[k])
        )
    return found, flat
