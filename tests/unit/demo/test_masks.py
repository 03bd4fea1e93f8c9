"""Masks as polygons and run lengths, on cases small enough to draw."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from wsl_det.demo import masks
from wsl_det.demo.catalogue import KINDS
from wsl_det.demo.scene import Canvas


def _field(height: int, width: int, *rectangles: tuple[int, int, int, int]) -> np.ndarray:
    field = np.zeros((height, width), dtype=bool)
    for top, bottom, left, right in rectangles:
        field[top:bottom, left:right] = True
    return field


def test_a_rectangle_becomes_its_corners():
    (piece,) = masks.polygons(_field(20, 30, (4, 12, 6, 16)))
    corners = np.reshape(piece, (-1, 2))
    # The traced outline runs an eighth of a pixel inside the pixels' outer edges.
    assert corners.min(axis=0) == pytest.approx([6.125, 4.125], abs=0.01)
    assert corners.max(axis=0) == pytest.approx([15.875, 11.875], abs=0.01)
    assert cv2.contourArea(corners.astype(np.float32)) == pytest.approx(9.75 * 7.75, abs=0.3)


def test_a_split_object_has_a_polygon_for_each_piece_but_none_for_scraps():
    field = _field(20, 40, (5, 15, 3, 13), (5, 15, 20, 30), (1, 3, 36, 38))
    assert len(masks.polygons(field)) == 2


def test_polygons_draw_the_mask_they_were_traced_from():
    ys, xs = np.mgrid[0:40, 0:50]
    field = ((xs - 24) / 18) ** 2 + ((ys - 20) / 12) ** 2 < 1
    packed = coco_mask.merge(coco_mask.frPyObjects(masks.polygons(field), 40, 50))
    drawn = coco_mask.decode(packed).astype(bool)
    assert (drawn & field).sum() / (drawn | field).sum() > 0.95


@pytest.mark.parametrize("fill", [0.0, 1.0, 0.4])
def test_run_lengths_are_what_pycocotools_reads(fill):
    field = np.random.default_rng(3).random((13, 9)) < fill
    coded = masks.run_lengths(field)
    decoded = coco_mask.decode(coco_mask.frPyObjects(coded, 13, 9))
    assert sum(coded["counts"]) == field.size
    np.testing.assert_array_equal(decoded.astype(bool), field)


@pytest.mark.parametrize("scene", ["sky", "reef", "meadow"])
def test_a_huddle_of_walkers_finds_a_place_where_there_is_next_to_no_ground(scene):
    zebra = next(kind for kind in KINDS if kind.name == "zebra")
    canvas = Canvas(np.random.default_rng(2), replace(zebra, scenes=(scene,)), (60, 80))
    assert canvas.backdrop == scene
    canvas.place_crowd(zebra, 16.0, 8)
    (crowd,) = canvas.objects
    row = masks.annotation(crowd, 1)
    assert row is not None
    assert row["iscrowd"] == 1
    assert row["area"] == crowd.visible.sum() > 40
