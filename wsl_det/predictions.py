"""The predictions file: a COCO results list that every server accepts, and its header beside it.

``predictions.json`` is read by pycocotools' ``loadRes`` unchanged, so what made it stands in
``predictions.meta.json``. Predictions from elsewhere have no such file and are welcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import attrgetter, is_not
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from wsl_det.core import files, rows
from wsl_det.errors import DataError

SCHEMA = 1
Results = Sequence[Mapping[str, Any]]
_LARGEST = 2.0**31
_EXPECTED = {
    "image_id": "a whole number; ids are integers, as in the annotation file",
    "category_id": "a whole number; ids are integers, as in the annotation file",
    "score": "a finite number, 0 or more",
    "bbox": "finite [x, y, width, height] in pixels, with width and height 0 or more",
    "segmentation": (
        'RLE {"size": [height, width], "counts": ...} or a list of polygons [[x0, y0, x1, y1, ...], ...]'
    ),
}


class _Detection(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: tuple[float, float, float, float] | UnsetType = UNSET
    segmentation: dict[str, Any] | list[Any] | UnsetType = UNSET


@dataclass(frozen=True)
class Predictions:
    """Detections as columns, in the order of the file.

    image_ids, category_ids: (N,) int64, ids as in the annotation file.
    scores: (N,) float64, finite and not negative, unrounded.
    boxes_xywh: (N, 4) float64 absolute pixels, or None when no row has "bbox".
    masks: N values of "segmentation" (RLE dicts or polygon lists), or None when no row has it.
    meta: the header beside the file, or None for predictions from elsewhere.
    An empty list of detections has both boxes and masks: it is valid for either.
    """

    image_ids: np.ndarray
    category_ids: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray | None
    masks: Sequence[Any] | None
    meta: dict[str, Any] | None
    source: str

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def iou_types(self) -> tuple[str, ...]:
        """What these predictions can be scored by: "bbox", "segm" or both."""
        has = (("bbox", self.boxes_xywh), ("segm", self.masks))
        return tuple(name for name, values in has if values is not None)


def meta_path(path: str | Path) -> Path:
    """Where the header of a predictions file lies: ``P.meta.json`` beside ``P.json``."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.json')}.meta.json")


def write(path: str | Path, results: Results, meta: Mapping[str, Any]) -> None:
    """Write a COCO results list and its header, each whole or not at all.

    ``results`` are plain dicts with image_id, category_id, score and bbox and/or segmentation.
    The header is completed with the hash and the length of the list, so that a header which
    no longer belongs to its file is found out.
    """
    columns(results, source="the results to write")
    path = Path(path)
    # The old header goes first: a crash between the two writes must not leave it beside a new file.
    meta_path(path).unlink(missing_ok=True)
    files.write_json(path, list(results), indent=None)
    stamp = {"sha256": files.sha256(path), "detections": len(results)}
    files.write_json(meta_path(path), {**meta, "predictions": stamp})


@rows.without_collection()
def read(path: str | Path) -> Predictions:
    """The validated columns of a predictions file, with its header when there is one.

    Raises DataError for what is not a COCO results list (see ``columns``) and for a header
    that describes another file.
    """
    path = Path(path)
    data = path.read_bytes() if path.is_file() else b""
    found = rows.quick(data, list[_Detection])
    if found:
        shapes = _shapes(found)
        if _each_once(data, *shapes.values()):
            return _assemble(found, shapes, str(path), read_meta(path))
    return columns(rows.slow(path, "predictions file"), source=str(path), meta=read_meta(path))


def read_meta(path: str | Path) -> dict[str, Any] | None:
    """The header beside a predictions file, or None; DataError when it belongs to other contents."""
    beside = meta_path(path)
    if not beside.exists():
        return None
    meta = files.read_json(beside, "predictions header")
    if not isinstance(meta, dict):
        raise DataError(f"{beside} holds a {type(meta).__name__}; expected the header object of {path}")
    stamp = meta.get("predictions")
    known = stamp.get("sha256") if isinstance(stamp, dict) else None
    if known is not None and known != files.sha256(path):
        raise DataError(
            f"{beside} describes other contents than {path} now has (sha256 {str(known)[:12]}... expected); "
            "make the predictions again, or remove the header to treat them as predictions from elsewhere"
        )
    return meta


def columns(results: Any, *, source: str, meta: dict[str, Any] | None = None) -> Predictions:
    """A COCO results list as validated columns.

    Raises DataError naming ``source``, the row and the value for: no list; a row that is no
    object; a missing field; an id that is no integer; a score that is no finite number or is
    negative; a box that is not four finite numbers or has a negative size; "bbox" or
    "segmentation" in some rows only.
    """
    if not isinstance(results, list | tuple):
        hint = (
            " (its annotations belong to --gt)" if isinstance(results, dict) and "images" in results else ""
        )
        raise DataError(
            f"{source} holds a {type(results).__name__}{hint}; expected a list of detections "
            '[{"image_id": ..., "category_id": ..., "bbox": [x, y, w, h], "score": ...}, ...]'
        )
    found = rows.typed(results, _Detection, lambda at, _: f"{source}: row {at}", _EXPECTED)
    return _assemble(found, _shapes(found), source, meta)


def _shapes(found: Sequence[_Detection]) -> dict[str, list[Any]]:
    return {key: list(map(attrgetter(key), found)) for key in ("bbox", "segmentation")}


def _each_once(data: bytes, boxes: Sequence[Any], masks: Sequence[Any]) -> bool:
    """Whether no key that is read stands twice in a row, told from how often it stands in the text."""
    keys = dict.fromkeys(("image_id", "category_id", "score"), len(boxes))
    keys |= {"bbox": _given(boxes), "segmentation": _given(masks)}
    rles = [mask for mask in masks if isinstance(mask, dict)] if keys["segmentation"] else []
    keys["size"] = keys["counts"] = len(rles)
    return rows.each_once(data, keys, texts=sum(isinstance(rle.get("counts"), str) for rle in rles))


def _given(values: Sequence[Any]) -> int:
    return sum(map(is_not, values, repeat(UNSET)))


def _assemble(
    found: Sequence[_Detection], shapes: dict[str, list[Any]], source: str, meta: dict[str, Any] | None
) -> Predictions:
    has = {key: _present(values, key, source) for key, values in shapes.items()}
    if found and not any(has.values()):
        raise DataError(f'{source}: row 0 has neither "bbox" nor "segmentation"; there is nothing to score')

    def refuse_first(fine: np.ndarray, key: str) -> None:
        if not fine.all():
            row = int(np.argmin(fine))
            value = getattr(found[row], key)
            value = list(value) if key == "bbox" else value
            raise rows.refused(f"{source}: row {row}", key, value, _EXPECTED)

    scores = np.fromiter(map(attrgetter("score"), found), np.float64, len(found))
    refuse_first((scores >= 0) & (scores < np.inf), "score")
    boxes, masks = None, None
    if has["bbox"]:
        flat = chain.from_iterable(shapes["bbox"])
        boxes = np.fromiter(flat, np.float64, 4 * len(found)).reshape(-1, 4)
        fine = (np.abs(boxes) < _LARGEST).all(axis=1) & (boxes[:, 2:] >= 0).all(axis=1)
        refuse_first(np.asarray(fine), "bbox")
    if has["segmentation"]:
        masks = shapes["segmentation"]
        for row, mask in enumerate(masks):
            if not (_is_rle(mask) or _is_polygons(mask)):
                raise rows.refused(f"{source}: row {row}", "segmentation", mask, _EXPECTED)
    return Predictions(
        image_ids=_ids(found, "image_id", source),
        category_ids=_ids(found, "category_id", source),
        scores=scores,
        boxes_xywh=boxes,
        masks=masks,
        meta=meta,
        source=source,
    )


def _ids(found: Sequence[_Detection], key: str, source: str) -> np.ndarray:
    try:
        return np.fromiter(map(attrgetter(key), found), np.int64, len(found))
    except OverflowError:
        row, value = next((i, v) for i, v in enumerate(map(attrgetter(key), found)) if abs(v) >= 2**63)
        raise DataError(
            f"{source}: row {row} has {key} {rows.short(value)}, which does not fit 64 bits"
        ) from None


def _is_rle(mask: Any) -> bool:
    if not isinstance(mask, Mapping) or not isinstance(mask.get("counts"), str | bytes | list):
        return False
    size = mask.get("size")
    return isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)


def _is_polygons(mask: Any) -> bool:
    if not isinstance(mask, list):
        return False
    return all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask)


def _present(values: Sequence[Any], key: str, source: str) -> bool:
    """Whether rows have ``key``: all or none; an empty list counts as having everything."""
    number = _given(values)
    if 0 < number < len(values):
        row = next(i for i, one in enumerate(values) if (one is UNSET) != (values[0] is UNSET))
        raise DataError(
            f"{source}: {number} of {len(values)} rows have {key!r} (row {row} differs from row 0); "
            "all rows or none must have it"
        )
    return number == len(values)
