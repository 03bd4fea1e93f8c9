"""Ground truth from a COCO annotation file, as people have them: odd is legal, broken is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsl_det.errors import DataError


@dataclass(frozen=True)
class GroundTruth:
    """Images, classes and objects of a test set as columns.

    image_ids: (I,) int64 ascending. image_sizes: (I, 2) int64 height, width, or -1 when the file
    has none. file_names: I names or None.
    category_ids: (K,) int64 ascending. class_names: K names for tables; a repeated name carries
    its id, ``facade (id 3)``.
    object_*: (G,) columns ordered by image and then as in the file, which is pycocotools' order:
    image and class indices int32, boxes_xywh (G, 4) float64, area float64, crowd bool.
    segmentations: G raw values (polygons, RLE or None).
    renumbered: whether an annotation had id 0, which pycocotools would never match.
    no_credit: (I,) bool of images where no detection may match anything, or None (``duplicates``).
    """

    image_ids: np.ndarray
    image_sizes: np.ndarray
    file_names: list[str | None]
    category_ids: np.ndarray
    class_names: list[str]
    object_image: np.ndarray
    object_class: np.ndarray
    object_boxes_xywh: np.ndarray
    object_area: np.ndarray
    object_crowd: np.ndarray
    segmentations: Sequence[Any]
    renumbered: bool
    source: str
    no_credit: np.ndarray | None = None

    @property
    def num_objects(self) -> int:
        return len(self.object_image)

    def class_counts(self) -> np.ndarray:
        """(K,) objects of each class that count, crowds left out."""
        return np.bincount(self.object_class[~self.object_crowd], minlength=len(self.category_ids))


@dataclass(frozen=True)
class Annotations:
    """The annotations of a file as columns, in the file's order; see ``GroundTruth`` for their meaning."""

    ids: np.ndarray
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes_xywh: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    segmentations: Sequence[Any]


def from_tree(tree: Any, *, source: str = "the annotations") -> GroundTruth:
    """The ground truth in the tree of a COCO annotation file.

    Raises DataError for what is not one: sections or fields missing, repeated ids, references
    to ids that are not there, boxes with negative or non-finite numbers for a size.
    """
    images, categories, rows = (_section(tree, key, source) for key in _SECTIONS)
    annotations = Annotations(
        ids=_integers(rows, "annotations", "id", source),
        image_ids=_integers(rows, "annotations", "image_id", source),
        category_ids=_integers(rows, "annotations", "category_id", source),
        boxes_xywh=_boxes(rows, source),
        area=_numbers(rows, "area", source),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], dtype=bool),
        segmentations=[row.get("segmentation") for row in rows],
    )
    return assemble(images, categories, annotations, source)


def assemble(
    images: list[dict[str, Any]], categories: list[dict[str, Any]], annotations: Annotations, source: str
) -> GroundTruth:
    """The ground truth of sections that are read already; raises DataError for ids that do not fit."""
    image_ids = _ids(_integers(images, "images", "id", source), "images", source)
    category_ids = _ids(_integers(categories, "categories", "id", source), "categories", source)
    _ids(annotations.ids, "annotations", source)
    by_image, by_category = np.argsort(image_ids), np.argsort(category_ids)
    image_of = _references(annotations, annotations.image_ids, image_ids[by_image], "image", source)
    class_of = _references(
        annotations, annotations.category_ids, category_ids[by_category], "category", source
    )
    order = np.argsort(image_of, kind="stable")
    return GroundTruth(
        image_ids=image_ids[by_image],
        image_sizes=_sizes([images[i] for i in by_image]),
        file_names=[images[i].get("file_name") for i in by_image],
        category_ids=category_ids[by_category],
        class_names=_class_names([categories[i] for i in by_category]),
        object_image=image_of[order].astype(np.int32),
        object_class=class_of[order].astype(np.int32),
        object_boxes_xywh=annotations.boxes_xywh[order],
        object_area=annotations.area[order],
        object_crowd=annotations.crowd[order],
        segmentations=_Reordered(annotations.segmentations, order),
        renumbered=bool((annotations.ids == 0).any()),
        source=source,
    )


class _Reordered(Sequence[Any]):
    """A sequence in another order, element by element when asked: segmentations are often not needed."""

    def __init__(self, values: Sequence[Any], order: np.ndarray) -> None:
        self._values, self._order = values, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: Any) -> Any:
        return self._values[self._order[i]]


_SECTIONS = ("images", "categories", "annotations")


def _section(tree: Any, key: str, source: str) -> list[dict[str, Any]]:
    if not isinstance(tree, dict):
        raise DataError(f"{source} holds a {type(tree).__name__}; expected a COCO annotation file, an object")
    # COCO's image_info files (test-dev) have no annotations at all: nothing is defined, nothing is wrong.
    rows = tree.get(key, [] if key == "annotations" else None)
    if not isinstance(rows, list):
        raise DataError(f"{source} has no list {key!r}; a COCO annotation file has {', '.join(_SECTIONS)}")
    for row, value in enumerate(rows):
        if not isinstance(value, dict):
            raise DataError(f"{source}: {key}[{row}] is {value!r:.60}; expected an object")
    return rows


def _column(rows: list[dict[str, Any]], section: str, key: str, source: str) -> list[Any]:
    try:
        return [row[key] for row in rows]
    except KeyError:
        at = next(i for i, row in enumerate(rows) if key not in row)
        raise DataError(f"{source}: {section}[{at}] (id {rows[at].get('id')}) has no {key!r}") from None


def _integers(rows: list[dict[str, Any]], section: str, key: str, source: str) -> np.ndarray:
    values = _column(rows, section, key, source)
    if not set(map(type, values)) <= {int}:
        at = next(i for i, value in enumerate(values) if type(value) is not int)
        raise DataError(
            f"{source}: {section}[{at}] has {key} {values[at]!r:.60} ({type(values[at]).__name__}); "
            "ids are integers"
        )
    return np.array(values, dtype=np.int64)


def _ids(ids: np.ndarray, section: str, source: str) -> np.ndarray:
    if len(np.unique(ids)) != len(ids):
        twice = next(value for value, count in Counter(ids.tolist()).items() if count > 1)
        raise DataError(f"{source}: {section} has id {twice} more than once; ids name one row each")
    return ids


def _references(
    annotations: Annotations, values: np.ndarray, known: np.ndarray, what: str, source: str
) -> np.ndarray:
    index = np.searchsorted(known, values)
    there = np.isin(values, known)
    if not there.all():
        at = int(np.argmin(there))
        raise DataError(
            f"{source}: annotations[{at}] (id {annotations.ids[at]}) has {what}_id {values[at]}, not "
            f"among the {len(known)} ids of {'images' if what == 'image' else 'categories'}"
        )
    return index


def _numbers(annotations: list[dict[str, Any]], key: str, source: str) -> np.ndarray:
    values = _column(annotations, "annotations", key, source)
    if not set(map(type, values)) <= {int, float}:
        at = next(i for i, value in enumerate(values) if type(value) not in (int, float))
        raise DataError(f"{source}: annotations[{at}] has {key} {values[at]!r:.60}; expected a number")
    return np.array(values, dtype=np.float64)


def _boxes(annotations: list[dict[str, Any]], source: str) -> np.ndarray:
    values = _column(annotations, "annotations", "bbox", source)
    for at, box in enumerate(values):
        if not isinstance(box, list) or len(box) != 4 or not {type(x) for x in box} <= {int, float}:
            raise DataError(
                f"{source}: annotations[{at}] has bbox {box!r:.60}; expected [x, y, width, height]"
            )
    boxes = np.array(values, dtype=np.float64).reshape(-1, 4)
    bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{source}: annotations[{at}] has bbox {values[at]}; width and height are finite and 0 or more"
        )
    return boxes


def _sizes(images: Sequence[dict[str, Any]]) -> np.ndarray:
    sizes = [(image.get("height"), image.get("width")) for image in images]
    known = [(h, w) if type(h) is int and type(w) is int else (-1, -1) for h, w in sizes]
    return np.array(known, dtype=np.int64).reshape(-1, 2)


def _class_names(categories: Sequence[dict[str, Any]]) -> list[str]:
    names = [str(category.get("name", category["id"])) for category in categories]
    count = Counter(names)
    return [
        f"{name} (id {c['id']})" if count[name] > 1 else name
        for name, c in zip(names, categories, strict=True)
    ]
