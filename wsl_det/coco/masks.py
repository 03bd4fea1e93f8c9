"""Masks as run lengths: from COCO's RLE strings and polygons, with areas and overlaps.

The run-length format is COCO's: column-major, runs of 0 and 1 in turn, starting with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wsl_det.coco import shapes
from wsl_det.coco.shapes import BadShape
from wsl_det.core.compiled import compiled
from wsl_det.errors import DataError


@dataclass(frozen=True)
class Masks:
    """N masks as runs in one array.

    runs: (R,) uint32 lengths; mask i has runs[starts[i]:starts[i + 1]].
    area: (N,) float64 pixels. span: (N, 2) int64, first and one past the last pixel of the mask in
    column-major order; masks whose spans do not meet do not overlap. height: (N,) int64 of the images.
    """

    runs: np.ndarray
    starts: np.ndarray
    area: np.ndarray
    span: np.ndarray
    height: np.ndarray

    @cached_property
    def boxes_xywh(self) -> np.ndarray:
        """(N, 4) float64 boxes around the masks; zeros around an empty one."""
        ends = np.cumsum(self.runs, dtype=np.int64)
        number = np.diff(self.starts)
        mask = np.repeat(np.arange(len(number)), number)
        ends -= np.r_[0, ends][self.starts[:-1]][mask]
        odd = (np.arange(len(mask)) - self.starts[mask]) % 2 == 1
        filled = np.flatnonzero(odd & (self.runs > 0))
        mask, last, first = mask[filled], ends[filled] - 1, ends[filled] - self.runs[filled]
        height = self.height[mask]
        # A run that goes on in the next column has filled the height.
        within = last // height == first // height
        top, bottom = np.where(within, first % height, 0), np.where(within, last % height, height - 1) + 1
        boxes = np.zeros((len(number), 4))
        there, begins = np.unique(mask, return_index=True)
        if len(there):
            left = self.span[there, 0] // self.height[there]
            right = (self.span[there, 1] - 1) // self.height[there] + 1
            top, bottom = np.minimum.reduceat(top, begins), np.maximum.reduceat(bottom, begins)
            boxes[there] = np.stack([left, top, right - left, bottom - top], axis=1)
        return boxes


def read(segmentations: Sequence[Any], sizes: np.ndarray, name: Callable[[int], str]) -> Masks:
    """N segmentations (RLE or polygons) of images of sizes (N, 2).

    Raises DataError, naming ``name(i)``, for a missing or malformed segmentation, a size that is not
    the image's, and runs that do not fill the image exactly.
    """
    counts = []
    for i, (value, (height, width)) in enumerate(zip(segmentations, sizes.tolist(), strict=True)):
        if type(value) is dict and value.get("size") == [height, width]:
            text, side = value.get("counts"), value["size"]
            if type(text) is str and text.isascii() and type(side[0]) is int and type(side[1]) is int:
                counts.append(text.encode())  # what results lists hold by the hundred thousand
                continue
        try:
            shape = shapes.parse(value, height, width)
        except BadShape as error:
            raise shapes.refuse(name(i), error) from None
        if shape is None:
            raise DataError(f"{name(i)} has no segmentation; masks need {shapes.FORM}")
        counts.append(shapes.compressed(shape, height, width))
    ends = np.cumsum([len(c) for c in counts], dtype=np.int64)
    spans = np.stack([np.r_[0, ends[:-1]] if len(ends) else ends, ends], axis=1)
    text = np.frombuffer(b"".join(counts), dtype=np.uint8)
    runs, starts, area, span, bad = _decode(text, spans, sizes.prod(1).astype(np.int64))
    if bad >= 0:
        height, width = sizes[bad]
        raise DataError(
            f"{name(bad)} has a damaged segmentation: its runs do not fill the image of {height} x {width} "
            "pixels (height x width); it is cut off, or of an image of another size"
        )
    return Masks(runs, starts, area, span, sizes[:, 0])


def pixels(segmentation: Any, height: int, width: int, name: str) -> np.ndarray:
    """(height, width) uint8 of one segmentation; raises as ``read``."""
    found = read([segmentation], np.array([[height, width]]), lambda _: name)
    inside = np.arange(len(found.runs), dtype=np.uint8) % 2
    return np.repeat(inside, found.runs).reshape(width, height).T


@compiled
def _decode(text, text_spans, pixels):  # type: ignore[no-untyped-def]
    num = len(text_spans)
    # A run takes at least one character.
    runs = np.empty((text_spans[:, 1] - text_spans[:, 0]).sum(), dtype=np.uint32)
    starts = np.zeros(num + 1, dtype=np.int64)
    area = np.zeros(num, dtype=np.float64)
    span = np.zeros((num, 2), dtype=np.int64)
    end = 0
    bad = -1
    for i in range(num):
        first = end
        at, stop = text_spans[i, 0], text_spans[i, 1]
        total = np.int64(0)
        filled = np.int64(0)
        while at < stop and bad < 0:
            value = np.int64(0)
            shift = 0
            more = True
            while more and at < stop and shift < 60:
                c = np.int64(text[at]) - 48
                if c < 0 or c > 63:
                    bad = i
                value |= (c & 31) << shift
                more = (c & 32) != 0
                at += 1
                shift += 5
                if not more and (c & 16):
                    value |= np.int64(-1) << shift
            # From the fourth run on, COCO stores the difference to the run two before.
            if end - first > 2:
                value += np.int64(runs[end - 2])
            if more or value < 0 or total + value > pixels[i]:
                bad = i
                break
            runs[end] = value
            if (end - first) % 2 == 1 and value > 0:
                if filled == 0:
                    span[i, 0] = total
                filled += value
                span[i, 1] = total + value
            total += value
            end += 1
        if total != pixels[i] and bad < 0:
            bad = i
        if bad >= 0:
            break
        area[i] = filled
        starts[i + 1] = end
    return runs[:end].copy(), starts, area, span, bad


@compiled
def intersections(runs_a, starts_a, span_a, rows_a, runs_b, starts_b, span_b, rows_b):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """(P,) common pixels of the pairs of masks rows_a[p], rows_b[p]."""
    common = np.zeros(len(rows_a), dtype=np.float64)
    for p in range(len(rows_a)):
        a, b = rows_a[p], rows_b[p]
        if span_a[a, 1] <= span_b[b, 0] or span_b[b, 1] <= span_a[a, 0]:
            continue
        i, i_stop = starts_a[a], starts_a[a + 1]
        j, j_stop = starts_b[b], starts_b[b + 1]
        end_i, end_j = np.int64(runs_a[i]), np.int64(runs_b[j])
        in_i, in_j = False, False
        at = np.int64(0)
        total = np.int64(0)
        while True:
            stop = min(end_i, end_j)
            if in_i and in_j:
                total += stop - at
            at = stop
            if end_i == at:
                i += 1
                if i >= i_stop:
                    break
                in_i = not in_i
                end_i += np.int64(runs_a[i])
            elif end_j == at:
                j += 1
                if j >= j_stop:
                    break
                in_j = not in_j
                end_j += np.int64(runs_b[j])
        common[p] = total
    return common
