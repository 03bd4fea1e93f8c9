"""The predictions file: a COCO results list that every server accepts, and its header beside it.

``predictions.json`` is read by pycocotools' ``loadRes`` unchanged, so what made it stands in
``predictions.meta.json``. Predictions from elsewhere have no such file and are welcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.core import files
from wsl_det.errors import DataError

SCHEMA = 1
Results = Sequence[Mapping[str, Any]]


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


def read(path: str | Path) -> Predictions:
    """The validated columns of a predictions file, with its header when there is one.

    Raises DataError for what is not a COCO results list (see ``columns``) and for a header
    that describes another file.
    """
    path = Path(path)
    results = files.read_json(path, "predictions file")
    return columns(results, source=str(path), meta=read_meta(path))


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
    for row, detection in enumerate(results):
        if not isinstance(detection, Mapping):
            raise DataError(f"{source}: row {row} is {_short(detection)}; expected an object")
    return Predictions(
        image_ids=_ids(results, "image_id", source),
        category_ids=_ids(results, "category_id", source),
        scores=_scores(results, source),
        boxes_xywh=_boxes(results, source),
        masks=_masks(results, source),
        meta=meta,
        source=source,
    )


def _field(results: Results, key: str, source: str) -> list[Any]:
    try:
        return [detection[key] for detection in results]
    except KeyError:
        row = next(i for i, detection in enumerate(results) if key not in detection)
        raise DataError(f"{source}: row {row} has no {key!r}; every detection needs it") from None


def _ids(results: Results, key: str, source: str) -> np.ndarray:
    values = _field(results, key, source)
    if not set(map(type, values)) <= {int}:
        row = next(i for i, v in enumerate(values) if type(v) is not int)
        raise DataError(
            f"{source}: row {row} has {key} {_short(values[row])} ({type(values[row]).__name__}); "
            "ids are integers, as in the annotation file"
        )
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise DataError(f"{source}: a {key} does not fit 64 bits") from None


def _scores(results: Results, source: str) -> np.ndarray:
    values = _field(results, "score", source)
    _refuse_non_numbers(values, "score", source)
    scores = np.array(values, dtype=np.float64)
    bad = ~(np.isfinite(scores) & (scores >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{source}: row {row} has score {scores[row]}; expected a finite number, 0 or more")
    return scores


def _boxes(results: Results, source: str) -> np.ndarray | None:
    if not _present(results, "bbox", source):
        return None
    values = [detection["bbox"] for detection in results]
    for row, box in enumerate(values):
        if not isinstance(box, list | tuple) or len(box) != 4:
            raise DataError(f"{source}: row {row} has bbox {_short(box)}; expected [x, y, width, height]")
    flat = [number for box in values for number in box]
    _refuse_non_numbers(flat, "bbox", source, per_row=4)
    boxes = np.array(flat, dtype=np.float64).reshape(-1, 4)
    bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{source}: row {row} has bbox {_short(values[row])}; "
            "expected finite [x, y, width, height] with width and height 0 or more"
        )
    return boxes


def _masks(results: Results, source: str) -> list[Any] | None:
    if not _present(results, "segmentation", source):
        return None
    values = [detection["segmentation"] for detection in results]
    for row, mask in enumerate(values):
        if not (_is_rle(mask) or _is_polygons(mask)):
            raise DataError(
                f"{source}: row {row} has segmentation {_short(mask)}; expected RLE "
                '{"size": [height, width], "counts": ...} or a list of polygons [[x0, y0, x1, y1, ...], ...]'
            )
    return values


def _is_rle(mask: Any) -> bool:
    if not isinstance(mask, Mapping) or not isinstance(mask.get("counts"), str | bytes | list):
        return False
    size = mask.get("size")
    return isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)


def _is_polygons(mask: Any) -> bool:
    if not isinstance(mask, list):
        return False
    return all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask)


def _present(results: Results, key: str, source: str) -> bool:
    """Whether rows have ``key``: all or none; an empty list counts as having everything."""
    rows = sum(key in detection for detection in results)
    if rows not in (0, len(results)):
        row = next(i for i, detection in enumerate(results) if (key in detection) != (key in results[0]))
        raise DataError(
            f"{source}: {rows} of {len(results)} rows have {key!r} (row {row} differs from row 0); "
            "all rows or none must have it"
        )
    if not rows and results and not any("bbox" in d or "segmentation" in d for d in results[:1]):
        raise DataError(f'{source}: row 0 has neither "bbox" nor "segmentation"; there is nothing to score')
    return rows > 0 or not results


def _refuse_non_numbers(values: Sequence[Any], key: str, source: str, per_row: int = 1) -> None:
    if not set(map(type, values)) <= {int, float}:
        at = next(i for i, v in enumerate(values) if type(v) not in (int, float))
        raise DataError(
            f"{source}: row {at // per_row} has {key} with {_short(values[at])} "
            f"({type(values[at]).__name__}); expected a number"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
