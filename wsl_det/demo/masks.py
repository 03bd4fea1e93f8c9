"""Masks as COCO writes them: polygons for objects, run lengths for crowds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from wsl_det.demo.scene import Crowd, Mask, Placed
from wsl_det.demo.shapes import Array

_ZOOM = 4  # outlines are traced on an enlarged mask, so that they run along pixel edges to 1/8 pixel
_TOLERANCE = 0.35  # pixels that a polygon may cut off the traced outline
_LEAST_AREA = 6.0  # square pixels; smaller scraps of a split object are left out


def polygons(mask: Mask) -> list[list[float]]:
    """The outer borders of a mask as COCO polygons, [x0, y0, x1, y1, ...]; one for each visible piece.

    Coordinates are in pixels with pixel (0, 0) covering [0, 1] x [0, 1]. Holes cannot be written
    as COCO polygons and are filled.
    """
    large = cv2.resize(mask.astype(np.uint8), None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_NEAREST)
    borders, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for border in borders:
        outline = cv2.approxPolyDP(border, _TOLERANCE * _ZOOM, True)[:, 0].astype(np.float64)
        outline = (outline + 0.5) / _ZOOM
        if len(outline) >= 3 and polygon_area(outline) >= _LEAST_AREA:
            pieces.append([float(v) for v in np.round(outline, 2).ravel()])
    return pieces


def polygon_area(outline: Array) -> float:
    """Area in square pixels of a polygon given as (N, 2) corners."""
    x, y = outline[:, 0], outline[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def run_lengths(mask: Mask) -> dict[str, Any]:
    """COCO's uncompressed run-length code: lengths of runs of 0 and 1 in turn, column by column, 0 first."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    edges = [0, *changes, len(flat)]
    counts = [b - a for a, b in pairwise(edges)]
    return {"counts": counts, "size": [int(mask.shape[0]), int(mask.shape[1])]}


def object_annotation(placed: Placed, category_id: int) -> dict[str, Any] | None:
    """The COCO row of an object (without ids), or None when too little of it shows to be outlined."""
    pieces = polygons(placed.visible)
    if not pieces:
        return None
    corners = [np.reshape(piece, (-1, 2)) for piece in pieces]
    together = np.concatenate(corners)
    left, top = together.min(axis=0)
    right, bottom = together.max(axis=0)
    return {
        "category_id": category_id,
        "segmentation": pieces,
        "area": round(sum(polygon_area(c) for c in corners), 2),
        "bbox": [round(float(v), 2) for v in (left, top, right - left, bottom - top)],
        "iscrowd": 0,
    }


def crowd_annotation(crowd: Crowd, category_id: int) -> dict[str, Any] | None:
    """The COCO row of a crowd (without ids), or None when nothing of it shows."""
    if not crowd.region.any():
        return None
    rows, columns = np.flatnonzero(crowd.region.any(axis=1)), np.flatnonzero(crowd.region.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "category_id": category_id,
        "segmentation": run_lengths(crowd.region),
        "area": int(crowd.region.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 1,
    }
