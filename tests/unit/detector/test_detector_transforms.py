"""Image, boxes, polygons and masks move together, with Detectron2's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from wsl_det.core import seed
from wsl_det.detector import targets, transforms
from wsl_det.detector.coco_records import Annotation
from wsl_det.detector.transforms import Augmentation, Crop, Flip, Geometry, Resize
from wsl_det.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "max_size", "old", "new"),
    [
        # Worked by hand from Detectron2's ResizeShortestEdge.get_output_shape.
        (800, 1333, (480, 640), (800, 1067)),
        (800, 1333, (640, 480), (1067, 800)),
        (800, 1333, (427, 1000), (569, 1333)),
        (800, 1333, (500, 500), (800, 800)),
        (640, 1333, (333, 500), (640, 961)),
    ],
)
def test_shortest_edge(size, max_size, old, new):
    assert transforms.shortest_edge(*old, size, max_size) == new


def test_flip_mirrors_pixels_and_continuous_coordinates():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    flipped = Geometry((Flip(3),), 2, 3)
    assert (flipped.image(image) == image[:, ::-1].transpose(2, 0, 1)).all()
    assert flipped.boxes(np.array([[0.0, 0, 1, 2]])).tolist() == [[2, 0, 3, 2]]
    assert flipped.polygons([np.array([0.0, 0, 1, 0, 1, 2])])[0].tolist() == [3, 0, 2, 0, 2, 2]
    upside = Geometry((Flip(2, vertical=True),), 2, 3)
    assert upside.boxes(np.array([[0.0, 0, 1, 0.5]])).tolist() == [[0, 1.5, 1, 2]]
    assert (upside.image(image) == image[::-1].transpose(2, 0, 1)).all()


def test_boxes_are_clipped_after_the_move():
    doubled = Geometry((Resize(10, 10, 20, 20),), 20, 20)
    assert doubled.boxes(np.array([[-5.0, 2, 12, 8]])).tolist() == [[0, 4, 20, 16]]


@given(
    st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=3, max_size=9),
    st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(5, 25), st.integers(5, 25)),
)
@settings(max_examples=60, deadline=None)
def test_a_cut_polygon_covers_what_the_whole_one_covers_in_the_window(points, window):
    x, y, w, h = window
    whole = np.array(points).round(2).reshape(-1)
    cut = Geometry((Crop(x, y, w, h),), h, w).polygons([whole])
    # Rasterised 8 times finer: pycocotools rounds corners to its grid, the areas need not be exact.
    fine = 8
    reference = (whole.reshape(-1, 2) - [x, y]) * fine
    covered = _raster([reference.reshape(-1)], h * fine, w * fine)
    found = _raster([p * fine for p in cut], h * fine, w * fine)
    border = 2 * fine * (w + h) + 2 * np.abs(np.diff(reference, axis=0, append=reference[:1])).sum()
    assert np.abs(covered.astype(int) - found).sum() <= max(border, 4)


def _raster(polygons, height, width):
    polygons = [p.tolist() for p in polygons if len(p) >= 6]
    if not polygons:
        return np.zeros((height, width), dtype=np.uint8)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def test_clip_keeps_a_concave_shape_in_two_pieces_as_one_polygon():
    u_shape = np.array([[0, 0], [10, 0], [10, 10], [8, 10], [8, 2], [2, 2], [2, 10], [0, 10]], dtype=float)
    lower = transforms.clip_polygon(u_shape - [0, 5], 10, 5)
    area = _raster([lower.reshape(-1) * 10], 50, 100).sum()
    assert area == 2 * (20 * 50)


def test_draws_are_a_function_of_the_generator():
    augmentation = Augmentation([64, 96, 128], 200, flip="horizontal", crop=("relative_range", (0.5, 0.5)))
    first = [augmentation.draw(100, 150, seed.numpy_generator(7, i)) for i in range(20)]
    again = [augmentation.draw(100, 150, seed.numpy_generator(7, i)) for i in range(20)]
    assert first == again
    assert len({g.height for g in first}) > 2
    assert 0 < sum(isinstance(g.steps[-1], Flip) for g in first) < 20


@pytest.mark.parametrize("kind", ["relative", "relative_range", "absolute", "absolute_range"])
def test_crops_stay_inside(kind):
    size = (0.5, 0.7) if kind.startswith("relative") else (30, 60)
    for i in range(30):
        geometry = Augmentation([0], 999, crop=(kind, size)).draw(50, 80, seed.numpy_generator(i))
        (crop,) = geometry.steps
        assert crop.x >= 0 and crop.x + crop.width <= 80
        assert crop.y >= 0 and crop.y + crop.height <= 50
        assert (geometry.height, geometry.width) == (crop.height, crop.width)


def test_range_sampling_takes_both_ends():
    augmentation = Augmentation([10, 12], 99, sample_range=True)
    heights = {augmentation.draw(20, 20, seed.numpy_generator(i)).height for i in range(40)}
    assert heights == {10, 11, 12}


def test_sizes_that_do_not_go_with_their_kind_are_config_errors():
    for kind, size in (("relative", (0.5, 2)), ("absolute", (0.5, 9)), ("absolute_range", (9, 5))):
        with pytest.raises(ConfigError, match=r"CROP\.SIZE"):
            Augmentation([10], 99, crop=(kind, size))
    for sizes in ([10], [12, 10]):
        with pytest.raises(ConfigError, match="MIN_SIZE_TRAIN"):
            Augmentation(sizes, 99, sample_range=True)


TRIANGLE = np.array([0.0, 0, 40, 0, 0, 40])


def _objects(segmentation=None):
    return [
        Annotation((0, 0, 40, 40), 3, segmentation or [TRIANGLE], crowd=False),
        Annotation((70, 5, 75, 9), 1, segmentation or [np.array([70.0, 5, 75, 5, 75, 9])], crowd=False),
    ]


def test_target_drops_what_a_crop_cuts_away_and_tightens_boxes():
    geometry = Geometry((Crop(20, 0, 40, 50),), 50, 40)
    target = targets.build(_objects(), geometry, masks="polygon", tighten=True)
    # The slanted edge leaves x 20..40 at y 0, nothing below y 20: not the 40 pixels of the cut box.
    assert target.boxes_xyxy.tolist() == [[0, 0, 20, 20]]
    assert target.classes.tolist() == [3]
    assert len(target.masks) == 1
    loose = targets.build(_objects(), geometry, masks=None, tighten=False)
    assert loose.boxes_xyxy.tolist() == [[0, 0, 20, 40]]
    assert loose.masks is None


def test_bitmask_targets_equal_rasterised_polygons_and_rles():
    geometry = Geometry((Resize(50, 80, 100, 160), Flip(160)), 100, 160)
    from_polygons = targets.build(_objects(), geometry, masks="bitmask", tighten=False)
    assert from_polygons.masks.shape == (2, 100, 160) and from_polygons.masks.dtype == torch.bool
    assert (from_polygons.masks[0].numpy() == _raster(geometry.polygons([TRIANGLE]), 100, 160)).all()
    rle = coco_mask.encode(np.asfortranarray(_raster([TRIANGLE], 50, 80)))
    from_rle = targets.build(_objects(rle), geometry, masks="bitmask", tighten=False)
    doubled = np.asarray(_raster([TRIANGLE], 50, 80)).repeat(2, 0).repeat(2, 1)[:, ::-1]
    assert (from_rle.masks[0].numpy() == doubled).all()


def test_no_objects_make_an_empty_target():
    geometry = Geometry((), 10, 10)
    for masks in (None, "polygon", "bitmask"):
        target = targets.build([], geometry, masks=masks, tighten=True)
        assert target.boxes_xyxy.shape == (0, 4) and len(target.classes) == 0
