"""The outlines of objects: polygons and run lengths of annotation and results files, bounded and told apart.

Whatever passes here is safe for pycocotools, which reads beyond its arrays for coordinates far outside the
image and believes every run length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsl_det.core.rows import short
from wsl_det.errors import DataError

Shape = list[np.ndarray] | dict[str, Any] | None
"""Polygons (flat float64 x0, y0, x1, y1, ...), a COCO RLE with compressed counts (bytes), or nothing."""
FAR = 10
"""Polygons may leave their image by this many of its longer sides."""
MOST_OUTLINE = 1 << 21
"""Pixels of outline that a polygon may have: pycocotools keeps some hundred bytes for each."""
MOST_PIXELS = (1 << 32) - 1
"""Pixels of an image: run lengths have 32 bits."""
FORM = "polygons [[x0, y0, x1, y1, ...]] or an RLE {size: [height, width], counts: ...}"


class BadShape(Exception):
    """Why a segmentation is none, to be put after the name of its annotation or row."""


def parse(value: Any, height: int, width: int) -> Shape:
    """A segmentation of an image of ``height`` x ``width`` pixels; BadShape for what is none.

    The runs of a compressed RLE are for ``masks.read`` to follow. Nothing is None or an empty list.
    """
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    if height < 1 or width < 1:
        raise BadShape("has a segmentation, but its image has no height and width; masks need both")
    if isinstance(value, Mapping):
        return _rle(value, height, width)
    if isinstance(value, list | tuple):
        return [_polygon(part, value, FAR * max(height, width)) for part in value]
    raise BadShape(f"has segmentation {short(value)}; expected {FORM}")


def has_area(polygon: np.ndarray) -> bool:
    """Whether a flat polygon has three or more points that do not all lie on one line.

    Detectron2 drops fewer than three points; collinear ones rasterise to nothing. A figure of eight has
    a signed area of 0 but covers pixels, hence the absolute triangles.
    """
    if len(polygon) < 6:
        return False
    spokes = polygon.reshape(-1, 2)[1:] - polygon[:2]
    cross = spokes[:-1, 0] * spokes[1:, 1] - spokes[:-1, 1] * spokes[1:, 0]
    return bool(np.abs(cross).sum() > 0)


def compressed(shape: list[np.ndarray] | dict[str, Any], height: int, width: int) -> bytes:
    """A parsed shape as COCO's compressed run lengths; polygons are drawn by pycocotools' rules."""
    if isinstance(shape, dict):
        return bytes(shape["counts"])
    from pycocotools import mask as coco_mask

    # Fewer than three points have no area; pycocotools would take four numbers for a box.
    polygons = [p.tolist() for p in shape if len(p) >= 6] or [[0.0] * 6]
    return bytes(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))["counts"])


def _polygon(part: Any, value: Sequence[Any], far: float) -> np.ndarray:
    kinds = set(map(type, part)) if isinstance(part, list | tuple) else {None}
    if not part or not kinds <= {int, float} or len(part) % 2 or (len(part) == 2 and len(value) > 2):
        raise BadShape(_unlike_polygons(part, value))
    try:
        flat = np.array(part, dtype=np.float64)
    except OverflowError:
        flat = np.array([np.inf])
    if not np.abs(flat).max() <= far:  # not "above": NaN is no coordinate either
        raise BadShape(
            f"has a polygon with a coordinate of {flat[np.argmax(~(np.abs(flat) <= far))]:g}, far outside "
            f"its image (more than {far:g} pixels, {FAR} times its longer side) or no number; is it of "
            "an image of another size?"
        )
    if len(flat) * far > MOST_OUTLINE:
        corners = flat.reshape(-1, 2)
        outline = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
        if outline > MOST_OUTLINE:
            raise BadShape(
                f"has a polygon whose outline is {outline:.0f} pixels long, more than {MOST_OUTLINE}"
            )
    return flat


def _unlike_polygons(part: Any, value: Sequence[Any]) -> str:
    """What is wrong with polygons that are none, in the words of the mistakes that are made."""
    if all(type(number) in (int, float) for number in value):
        return f"has segmentation {short(value)}, one flat list; expected polygons [[x0, y0, x1, y1, ...]]"
    if isinstance(part, list | tuple) and not part:
        return (
            f"has segmentation {short(value)} with an empty polygon; expected polygons "
            "[[x0, y0, x1, y1, ...]], or no segmentation"
        )
    nested = isinstance(part, list | tuple) and all(isinstance(p, list | tuple) for p in part)
    if nested or (isinstance(part, list | tuple) and len(part) == 2):
        return (
            f"has segmentation {short(value)}, its points as pairs; expected the numbers of a polygon in one "
            "list, [[x0, y0, x1, y1, ...]]"
        )
    if isinstance(part, list | tuple) and all(type(number) in (int, float) for number in part):
        return f"has a polygon of {len(part)} numbers; expected pairs of x and y, [[x0, y0, x1, y1, ...]]"
    return f"has segmentation {short(value)}; a polygon holds numbers: expected {FORM}"


def _rle(value: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    size, counts = value.get("size"), value.get("counts")
    if (
        not isinstance(size, list | tuple)
        or list(size) != [height, width]
        or not {type(s) for s in size} <= {int}
    ):
        raise BadShape(f"has RLE size {short(size)}; its image has [{height}, {width}] (height, width)")
    if isinstance(counts, bytes):
        return {"size": [height, width], "counts": counts}
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode("ascii", "replace")}
    if not isinstance(counts, list | tuple) or not all(type(c) is int and c >= 0 for c in counts):
        raise BadShape(f"has RLE counts {short(counts)}; expected a text, or whole numbers 0 and above")
    if sum(counts) != height * width:
        raise BadShape(
            f"has RLE counts that add up to {short(sum(counts))}; they must add up to height x width, "
            f"{height * width}"
        )
    from pycocotools import mask as coco_mask

    return dict(coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width))


def refuse(where: str, error: BadShape) -> DataError:
    """The refusal of a segmentation of the annotation or row ``where``."""
    return DataError(f"{where} {error}")
