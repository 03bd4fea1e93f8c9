"""COCO json -> records with contiguous classes; files that break the rules are refused by name.

Classes follow category-id order (Detectron2's rule). What is odd but legal is clipped or left out,
and counted in ``CocoDataset.notes``: polygons without an area, boxes without one or outside the
image, boxes over the border.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.core import files, log
from wsl_det.errors import DataError

Segmentation = list[np.ndarray] | dict[str, Any] | None


@dataclass(frozen=True)
class Annotation:
    """One object: its box (x1, y1, x2, y2 in pixels), contiguous class and shape.

    segmentation: flat float64 polygons, a COCO RLE dict with compressed counts, or None.
    """

    box_xyxy: tuple[float, float, float, float]
    category: int
    segmentation: Segmentation
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
    """One annotation file: records in image-id order, categories in id order."""

    name: str
    json_path: Path
    records: tuple[Record, ...]
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    num_annotations: int
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names for tables; a name that several categories share becomes ``facade (id 3)``."""
        seen = Counter(self.category_names)
        pairs = zip(self.category_ids, self.category_names, strict=True)
        return tuple(f"{name} (id {i})" if seen[name] > 1 else name for i, name in pairs)


def read(json_path: str | Path, image_dir: str | Path, name: str) -> CocoDataset:
    """The records of a COCO instances file; images are not opened.

    Raises DataError for a file that is absent or not whole JSON, for repeated ids, ids that refer
    to nothing, missing fields and values that cannot be. "annotations" may be absent (test-dev).
    """
    json_path, image_dir = Path(json_path), Path(image_dir)
    tree = files.read_json(json_path, f"annotations of {name}")
    refuse = partial(_refuse, json_path)
    images, annotations, categories = _sections(tree, refuse)
    _check_ids(images, "image", refuse)
    _check_ids(annotations, "annotation", refuse)
    _check_ids(categories, "category", refuse)
    ordered = sorted(categories, key=lambda c: c["id"])
    classes = {c["id"]: k for k, c in enumerate(ordered)}
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        _check_references(annotation, by_image, classes, refuse)
        by_image[annotation["image_id"]].append(annotation)
    reader = _Reader(classes, refuse)
    records = tuple(
        reader.record(image, by_image[image["id"]], image_dir)
        for image in sorted(images, key=lambda i: i["id"])
    )
    return CocoDataset(
        name,
        json_path,
        records,
        tuple(c["id"] for c in ordered),
        tuple(str(c["name"]) for c in ordered),
        len(annotations),
        dict(sorted(reader.notes.items())),
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


Refuse = Callable[[str], DataError]
_FIELDS = {
    "image": ("id", "file_name", "height", "width"),
    "annotation": ("id", "image_id", "category_id", "bbox"),
    "category": ("id", "name"),
}


def _refuse(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}")


def _sections(tree: Any, refuse: Refuse) -> tuple[list[Any], list[Any], list[Any]]:
    if not isinstance(tree, dict):
        raise refuse(f"holds a JSON {type(tree).__name__}; expected a COCO object with images and categories")
    for section in ("images", "categories"):
        if section not in tree:
            raise refuse(f"has no '{section}'; found {sorted(tree)}")
    found = tuple(tree.get(s, []) for s in ("images", "annotations", "categories"))
    for section, value in zip(("images", "annotations", "categories"), found, strict=True):
        if not isinstance(value, list):
            raise refuse(f"'{section}' is a {type(value).__name__}; expected a list")
    if not found[0]:
        raise refuse("lists no images")
    if not found[2]:
        raise refuse("lists no categories")
    return found  # type: ignore[return-value]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_ids(items: Iterable[Any], what: str, refuse: Refuse) -> None:
    seen: set[int] = set()
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            raise refuse(f"{what} number {place} is a {type(item).__name__}; expected an object")
        for name in _FIELDS[what]:
            if name not in item:
                raise refuse(f"{what} {item.get('id', f'number {place}')} has no '{name}'")
        if not _is_int(item["id"]):
            raise refuse(f"{what} id {item['id']!r} is not an integer")
        if item["id"] in seen:
            raise refuse(f"{what} id {item['id']} is given twice; ids must be unique")
        seen.add(item["id"])


def _check_references(
    annotation: Mapping[str, Any], images: Mapping[int, Any], classes: Mapping[int, int], refuse: Refuse
) -> None:
    for name, known in (("image_id", images), ("category_id", classes)):
        value = annotation[name]
        if not _is_int(value) or value not in known:
            what = name.removesuffix("_id")
            raise refuse(
                f"annotation {annotation['id']} refers to {what} {value!r}, which is not in the file"
            )
    if annotation.get("ignore"):
        raise refuse(
            f"annotation {annotation['id']} has ignore = 1, which COCO evaluation overwrites; use iscrowd = 1"
        )


class _Reader:
    """Turns checked json items into records and counts what it clips or leaves out."""

    def __init__(self, classes: Mapping[int, int], refuse: Refuse) -> None:
        self.classes, self.refuse = classes, refuse
        self.notes: Counter[str] = Counter()

    def record(self, image: Mapping[str, Any], items: Iterable[Mapping[str, Any]], folder: Path) -> Record:
        height, width = image["height"], image["width"]
        if not (_is_int(height) and _is_int(width) and height > 0 and width > 0):
            raise self.refuse(
                f"image {image['id']} is {width!r} x {height!r}; expected whole numbers of pixels above 0"
            )
        if not isinstance(image["file_name"], str):
            raise self.refuse(f"image {image['id']} has file_name {image['file_name']!r}; expected a string")
        found = (self._annotation(item, height, width) for item in items)
        return Record(
            image["id"], folder / image["file_name"], height, width, tuple(a for a in found if a is not None)
        )

    def _annotation(self, item: Mapping[str, Any], height: int, width: int) -> Annotation | None:
        x, y, w, h = self._box(item)
        if w <= 0 or h <= 0:
            self.notes["boxes without an area left out"] += 1
            return None
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            self.notes["boxes outside their image left out"] += 1
            return None
        # Half a pixel of slack: annotation tools round, and clipping that is not worth a word.
        if x < -0.5 or y < -0.5 or x + w > width + 0.5 or y + h > height + 0.5:
            self.notes["boxes over the border clipped"] += 1
        shape = item.get("segmentation")
        if isinstance(shape, dict):
            shape = self._rle(shape, item["id"], height, width)
        elif shape:
            shape = self._polygons(shape, item["id"])
            if not shape:
                self.notes["objects whose polygons have no area left out"] += 1
                return None
        crowd = bool(item.get("iscrowd", 0))
        return Annotation((x, y, x + w, y + h), self.classes[item["category_id"]], shape or None, crowd)

    def _box(self, item: Mapping[str, Any]) -> tuple[float, ...]:
        box = item["bbox"]
        fine = isinstance(box, list) and len(box) == 4
        if not fine or not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
            raise self.refuse(f"annotation {item['id']} has bbox {box!r}; expected [x, y, width, height]")
        return tuple(float(v) for v in box)

    def _polygons(self, shape: Any, annotation_id: int) -> list[np.ndarray]:
        if not isinstance(shape, list) or not all(isinstance(p, list) for p in shape):
            raise self.refuse(f"annotation {annotation_id}: segmentation is neither polygons nor an RLE")
        try:
            parts = [np.asarray(p, dtype=np.float64) for p in shape]
        except (ValueError, TypeError):
            raise self.refuse(
                f"annotation {annotation_id}: a polygon holds something else than numbers"
            ) from None
        if not all(np.isfinite(p).all() and p.ndim == 1 for p in parts):
            raise self.refuse(
                f"annotation {annotation_id}: a polygon holds something else than finite numbers"
            )
        return [p for p in parts if has_area(p)]

    def _rle(self, shape: Mapping[str, Any], annotation_id: int, height: int, width: int) -> dict[str, Any]:
        from pycocotools import mask as coco_mask

        size, counts = shape.get("size"), shape.get("counts")
        if list(size or ()) != [height, width] or not isinstance(counts, list | str):
            raise self.refuse(
                f"annotation {annotation_id}: an RLE needs counts and size [{height}, {width}], found {size}"
            )
        if isinstance(counts, str):
            return {"size": [height, width], "counts": counts.encode()}
        if not all(_is_int(c) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise self.refuse(
                f"annotation {annotation_id}: the RLE counts must be whole numbers that "
                "add up to height x width"
            )
        return coco_mask.frPyObjects(dict(shape), height, width)


def has_area(polygon: np.ndarray) -> bool:
    """Whether a flat polygon has three or more points that do not all lie on one line.

    Detectron2 drops odd lengths and fewer than three points; collinear ones rasterise to nothing.
    A figure of eight has a signed area of 0 but covers pixels, hence the absolute triangles.
    """
    if len(polygon) % 2 or len(polygon) < 6:
        return False
    spokes = polygon.reshape(-1, 2)[1:] - polygon[:2]
    cross = spokes[:-1, 0] * spokes[1:, 1] - spokes[:-1, 1] * spokes[1:, 0]
    return bool(np.abs(cross).sum() > 0)
