"""Masks as COCO writes them: polygons for objects, run lengths for crowds."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from wsl_det.demo.scene import Mask, Placed

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
        outline = (cv2.approxPolyDP(border, _TOLERANCE * _ZOOM, True)[:, 0] + np.float32(0.5)) / _ZOOM
        if len(outline) >= 3 and cv2.contourArea(outline.astype(np.float32)) >= _LEAST_AREA:
            pieces.append([float(v) for v in np.round(outline, 2).ravel()])
    return pieces


def run_lengths(mask: Mask) -> dict[str, Any]:
    """COCO's uncompressed run-length code: lengths of runs of 0 and 1 in turn, column by column, 0 first."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8)])
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)), [mask.size]])
    return {"counts": np.diff(edges).tolist(), "size": [int(side) for side in mask.shape]}


def annotation(placed: Placed, category_id: int) -> dict[str, Any] | None:
    """The COCO row of an object or a crowd (without ids), or None when too little of it shows to outline."""
    shape: Any = polygons(placed.visible)
    if not shape:
        return None
    if placed.crowd:
        shape, area = run_lengths(placed.visible), float(placed.visible.sum())
        box: list[float] = list(cv2.boundingRect(placed.visible.astype(np.uint8)))
    else:
        corners = [np.reshape(piece, (-1, 2)).astype(np.float32) for piece in shape]
        area = round(sum(cv2.contourArea(c) for c in corners), 2)
        low, high = np.concatenate(corners).min(axis=0), np.concatenate(corners).max(axis=0)
        box = [round(float(v), 2) for v in (*low, *(high - low))]
    rest = {"area": area, "bbox": box, "iscrowd": int(placed.crowd)}
    return {"category_id": category_id, "segmentation": shape, **rest}
