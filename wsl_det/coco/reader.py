"""COCO and LVIS annotation files -> ``GroundTruth``: one set of rules, whoever reads and however large.

Odd is legal: ids from 0 and with gaps, categories of one name, boxes over the border, objects without an
area. Broken is refused with file, id, value and what is expected. What only scoring needs is asked for by
``check_scored``, so that a test set that cannot be scored is refused before the training as after it.
Segmentations are judged by ``shapes`` and ``masks`` when they are used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from wsl_det.coco import agreement, masks, shapes
from wsl_det.coco.ground_truth import Federated, GroundTruth, places
from wsl_det.core import rows
from wsl_det.errors import DataError

Shape = TypeVar("Shape")
LARGEST_AREA = 1e10
"""Pixels up to which COCO counts an object."""
LARGEST = 2.0**31
"""Pixels beyond which a box is no box of an image."""


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str | None = None
    coco_url: str | None = None
    height: int | None = None
    width: int | None = None
    neg_category_ids: list[int] | UnsetType = UNSET
    not_exhaustive_category_ids: list[int] | UnsetType = UNSET


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str | int
    # Of LVIS; in other files fields of these names may be anything.
    synset: Any = None
    frequency: Any = None
    image_count: Any = None


class _Annotation(msgspec.Struct, Generic[Shape], gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: float | bool | UnsetType = UNSET
    ignore: float | bool | UnsetType = UNSET
    segmentation: Shape = None  # type: ignore[assignment]


class _File(msgspec.Struct, gc=False):
    """Segmentations stay text: they are most of a file, and boxes do not need them."""

    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation[msgspec.Raw]] = []


_SECTIONS = {"images": _Image, "categories": _Category, "annotations": _Annotation[Any]}
_ID = "a whole number of 64 bits"
_SETS = "a list of category ids, as in LVIS"
_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
_EXPECTED = {
    "id": _ID,
    "image_id": _ID,
    "category_id": _ID,
    "bbox": "[x, y, width, height], four finite numbers of pixels",
    "area": f"a number of pixels from 0 to {LARGEST_AREA:g}",
    "iscrowd": "0, 1, true or false",
    "ignore": "0, 1, true or false",
    "file_name": "the name of a file below the image folder, a text",
    "coco_url": "the address of the image, a text",
    "height": "a whole number of pixels above 0",
    "width": "a whole number of pixels above 0",
    "name": "a text",
    "synset": "the name of a WordNet synset, a text such as dog.n.01",
    "frequency": "r, c or f, as in LVIS",
    "image_count": "a number of training images, as in LVIS",
    "neg_category_ids": _SETS,
    "not_exhaustive_category_ids": _SETS,
}


@rows.without_collection()
def read(path: str | Path, what: str = "annotation file") -> GroundTruth:
    """The ground truth in an annotation file, or DataError; "annotations" may be absent (test-dev)."""
    path = Path(path)
    data = path.read_bytes() if path.is_file() else b""
    found = rows.quick(data, _File)
    if found is not None and found.images and found.categories and _each_once(data, found):
        truth = _assemble(found.images, found.categories, found.annotations, str(path))
    else:
        truth = from_tree(rows.slow(path, what), str(path))
    return truth


def from_tree(tree: Any, source: str = "the annotations") -> GroundTruth:
    """The ground truth in the tree of an annotation file; raises as ``read``."""
    if not isinstance(tree, Mapping):
        raise DataError(
            f"{source} holds a {type(tree).__name__}; expected a COCO annotation file, "
            f"an object with {', '.join(_SECTIONS)}"
        )
    found: list[list[Any]] = []
    for section, type_ in _SECTIONS.items():
        listed = tree.get(section, [] if section == "annotations" else None)
        if listed is None and section not in tree:
            raise DataError(f"{source} has no {section!r}; found {rows.short(sorted(map(str, tree)))}")
        if not isinstance(listed, list | tuple):
            raise DataError(f"{source}: {section!r} is a {type(listed).__name__}; expected a list")
        if not listed and section != "annotations":
            raise DataError(f"{source} lists no {section}")
        word = "category" if section == "categories" else section[:-1]
        found.append(rows.typed(listed, type_, partial(_name, source, word), _EXPECTED))
    images, categories, annotations = found
    return _assemble(images, categories, annotations, source)


def check_scored(truth: GroundTruth, *, with_masks: bool = False) -> None:
    """Refuse what no protocol can score, although one can train on it.

    Federated files that do not say for every image what was judged, objects without an area or with a
    negative width; ``with_masks``, if any object has a mask: objects without one, and masks that
    ``masks.read`` refuses. Raises DataError.
    """
    if truth.federated is not None and truth.federated.lacking:
        raise DataError(
            f"{truth.source} is federated, as LVIS is, but {truth.federated.lacking}. Scoring needs both "
            f"{' and '.join(_LISTS)} of every image, empty ones too; one can train on it"
        )
    needs = "has no 'area', which scoring needs: give the pixels of its mask or box"
    _refuse_first(np.isnan(truth.object_area), truth, needs)
    mend = "has a bbox of negative width or height, which cannot be scored: mend or remove it"
    _refuse_first(np.asarray((truth.object_boxes_xywh[:, 2:] < 0).any(axis=1)), truth, mend)
    if with_masks and any(bool(value) for value in truth.segmentations):
        masks.read(truth.segmentations, truth.object_sizes(), truth.annotation)


def _refuse_first(bad: np.ndarray, truth: GroundTruth, why: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        box = truth.object_boxes_xywh[at].tolist()
        raise DataError(f"{truth.annotation(at)} {why} (bbox {box}; {int(bad.sum())} of {len(bad)} objects)")


def _name(source: str, word: str, at: int, row: Any) -> str:
    known = isinstance(row, Mapping) and "id" in row
    return f"{source}: {word} {rows.short(row['id'])}" if known else f"{source}: {word} number {at}"


def _each_once(data: bytes, found: _File) -> bool:
    """Whether the keys that are read stand in the text as often as they are read: none twice in an object."""
    objects = found.annotations
    keys = dict.fromkeys(_SECTIONS, 1) | dict.fromkeys(("image_id", "category_id", "bbox"), len(objects))
    keys["area"] = sum(a.area is not None for a in objects)
    keys["iscrowd"] = sum(a.iscrowd is not UNSET for a in objects)
    federated = {key: sum(getattr(i, key) is not UNSET for i in found.images) for key in _LISTS}
    federated["ignore"] = sum(a.ignore is not UNSET for a in objects)
    federated["frequency"] = sum(c.frequency is not None for c in found.categories)
    # What no object has cannot stand twice in one; COCO's files have none of these and need no search.
    keys |= {key: count for key, count in federated.items() if count}
    return rows.each_once(data, keys)


def _assemble(
    images: Sequence[_Image], categories: Sequence[_Category], annotations: Sequence[Any], source: str
) -> GroundTruth:
    images = sorted(images, key=lambda image: image.id)
    categories = sorted(categories, key=lambda category: category.id)
    image_ids, category_ids = _ids(images, "image", source), _ids(categories, "category", source)
    ids = _ids(annotations, "annotation", source)
    image_of = _references(annotations, image_ids, ids, "image", source)
    class_of = _references(annotations, category_ids, ids, "category", source)
    boxes, area, flags = _objects(annotations, ids, source)
    order = np.argsort(image_of, kind="stable")
    ignored = (flags["ignore"] | (area == 0))[order]
    federated = _federated(images, category_ids, ignored, int(flags["iscrowd"].sum()), source)
    if federated is None:
        _refuse_ignored(flags["ignore"], ids, source)
    truth = GroundTruth(
        image_ids=image_ids,
        image_sizes=_sizes(images, source),
        file_names=[_file_name(image, source) for image in images],
        category_ids=category_ids,
        category_names=[_text(str(c.name), f"{source}: category {c.id}", "name") for c in categories],
        object_ids=ids[order],
        object_image=image_of[order].astype(np.int32),
        object_class=class_of[order].astype(np.int32),
        object_boxes_xywh=boxes[order],
        object_area=area[order],
        object_crowd=flags["iscrowd"][order] & (federated is None),
        segmentations=_Segmentations([a.segmentation for a in annotations], order),
        source=source,
        federated=federated,
        **_category_facts(categories, source, strict=federated is not None),
    )
    agreement.check(truth)
    return truth


class _Segmentations(Sequence[Any]):
    """Segmentations in another order, parsed one by one when asked for: they are often not needed."""

    def __init__(self, values: Sequence[Any], order: np.ndarray) -> None:
        self._values, self._order = values, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: Any) -> Any:
        value = self._values[self._order[i]]
        return rows.parse(bytes(value)) if isinstance(value, msgspec.Raw) else value


def _ids(items: Sequence[Any], what: str, source: str) -> np.ndarray:
    values = list(map(attrgetter("id"), items))
    ids = _int64(values, "id", lambda at: f"{source}: {what} {rows.short(values[at])}")
    if len(np.unique(ids)) != len(ids):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise DataError(f"{source}: {what} id {twice} stands twice; ids name one {what} each")
    return ids


def _int64(values: list[int], field: str, name: Any) -> np.ndarray:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        at = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise rows.refused(name(at), field, values[at], _EXPECTED) from None


def _references(
    annotations: Sequence[Any], known: np.ndarray, ids: np.ndarray, what: str, source: str
) -> np.ndarray:
    field = f"{what}_id"
    values = _int64(
        list(map(attrgetter(field), annotations)), field, lambda at: f"{source}: annotation {ids[at]}"
    )
    index = places(known, values)
    if (index < 0).any():
        at = int(np.argmin(index))
        raise DataError(
            f"{source}: annotation {ids[at]} refers to {what} {values[at]}, which is not among the "
            f"{len(known)} of the file ({len(np.unique(values[index < 0]))} unknown in all)"
        )
    return index


def _objects(
    annotations: Sequence[Any], ids: np.ndarray, source: str
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(boxes, area, flags iscrowd and ignore) of the annotations, in the file's order."""

    def refuse_first(fine: np.ndarray, field: str) -> None:
        if not fine.all():
            at = int(np.argmin(fine))
            value = getattr(annotations[at], field)
            value = list(value) if field == "bbox" else value
            raise rows.refused(f"{source}: annotation {ids[at]}", field, value, _EXPECTED)

    flat = chain.from_iterable(map(attrgetter("bbox"), annotations))
    boxes = np.fromiter(flat, np.float64, 4 * len(annotations)).reshape(-1, 4)
    refuse_first(np.asarray((np.abs(boxes) < LARGEST).all(axis=1)), "bbox")
    areas = list(map(attrgetter("area"), annotations))
    area = np.array(areas, dtype=np.float64)  # of None it makes nan
    fine = (area >= 0) & (area <= LARGEST_AREA)
    refuse_first(fine if fine.all() else fine | np.array([a is None for a in areas]), "area")
    flags = {}
    for field in ("iscrowd", "ignore"):
        given = list(map(attrgetter(field), annotations))
        values = np.array([0 if v is UNSET else v for v in given], dtype=np.float64)
        refuse_first((values == 0) | (values == 1), field)
        flags[field] = values == 1
    return boxes, area, flags


def _refuse_ignored(ignored: np.ndarray, ids: np.ndarray, source: str) -> None:
    if ignored.any():
        raise DataError(
            f"{source}: annotation {ids[np.argmax(ignored)]} has ignore = 1, which COCO evaluation "
            "overwrites; use iscrowd = 1"
        )


def _sizes(images: Sequence[_Image], source: str) -> np.ndarray:
    for image in images:
        for field in ("height", "width"):
            side = getattr(image, field)
            if side is not None and not 0 < side < 2**31:
                raise rows.refused(f"{source}: image {image.id}", field, side, _EXPECTED)
    sizes = np.array(
        [(-1, -1) if None in (i.height, i.width) else (i.height, i.width) for i in images], dtype=np.int64
    )
    large = sizes.prod(axis=1) > shapes.MOST_PIXELS
    if large.any():
        at = int(np.argmax(large))
        height, width = sizes[at].tolist()
        raise DataError(
            f"{source}: image {images[at].id} is {width} x {height} pixels; COCO's masks hold at most "
            f"{shapes.MOST_PIXELS} pixels"
        )
    return sizes


def _file_name(image: _Image, source: str) -> str | None:
    """The name below the image folder; LVIS gives an address, whose last two parts are folder and file."""
    name = image.file_name
    if name is None and image.coco_url is not None:
        name = "/".join(image.coco_url.split("/")[-2:])
    return _text(name, f"{source}: image {image.id}", "file_name") if name is not None else None


def _text(text: str, where: str, field: str) -> str:
    """``text``, unless it is half a character that no file can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise rows.refused(where, field, text, _EXPECTED) from None
    return text


def _category_facts(categories: Sequence[_Category], source: str, *, strict: bool) -> dict[str, Any]:
    """What LVIS says of categories, as ``GroundTruth`` has it; ``strict`` refuses what cannot be meant."""

    def column(field: str, fine: Callable[[Any], bool], unknown: Any) -> list[Any]:
        values = [getattr(c, field) for c in categories]
        wrong = [i for i, value in enumerate(values) if value is not None and not fine(value)]
        if wrong and strict:
            where = f"{source}: category {categories[wrong[0]].id}"
            raise rows.refused(where, field, values[wrong[0]], _EXPECTED)
        return [value if value is not None and fine(value) else unknown for value in values]

    counts = column("image_count", lambda n: type(n) is int and 0 <= n < 2**63, -1)
    return {
        "category_synsets": column("synset", lambda name: isinstance(name, str), ""),
        "category_frequency": column("frequency", lambda band: band in ("r", "c", "f"), ""),
        "category_image_count": np.array(counts, dtype=np.int64),
    }


def _federated(
    images: Sequence[_Image], category_ids: np.ndarray, ignored: np.ndarray, crowds: int, source: str
) -> Federated | None:
    if all(getattr(image, key) is UNSET for image in images for key in _LISTS):
        return None
    place = {int(c): k for k, c in enumerate(category_ids)}

    def classes(image: _Image, key: str) -> np.ndarray:
        listed = getattr(image, key)
        try:
            return np.unique(np.array([place[c] for c in listed or []], dtype=np.int32))
        except KeyError as error:
            raise DataError(
                f"{source}: image {image.id} has {key} with {error}, which is not among the categories"
            ) from None

    negative, not_exhaustive = ([classes(image, key) for image in images] for key in _LISTS)
    without = ((i.id, key) for i in images for key in _LISTS if getattr(i, key) is UNSET)
    lacking = next((f"image {i} has no {key}" for i, key in without), "")
    return Federated(negative, not_exhaustive, ignored, crowds, lacking)
