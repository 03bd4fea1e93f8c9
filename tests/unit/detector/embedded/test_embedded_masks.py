"""Masks: rasterising, resampling, pasting, run lengths."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from wsl_det.detector.embedded import mask_ops


def test_rasterise_a_half_and_two_parts() -> None:
    left = np.array([10.0, 10, 14, 10, 14, 18, 10, 18])
    right = left + np.array([6.0, 0] * 4)
    boxes = torch.tensor([[10.0, 10, 18, 18], [10.0, 10, 20, 18]])
    masks = mask_ops.rasterise_in_boxes([[left], [left, right]], boxes, 8)
    assert masks[0].float().mean(0).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert masks[1].float().mean(0).tolist() == [1, 1, 1, 0, 0, 1, 1, 1]


def test_rasterise_a_box_without_width() -> None:
    polygon = np.array([0.0, 0, 5, 0, 5, 5])
    assert mask_ops.rasterise_in_boxes([[polygon]], torch.tensor([[2.0, 2, 2, 2]]), 14).shape == (1, 14, 14)
    assert mask_ops.rasterise_in_boxes([], torch.zeros(0, 4), 14).shape == (0, 14, 14)


def test_crop_of_bitmaps() -> None:
    bitmaps = torch.zeros(2, 20, 20, dtype=torch.bool)
    bitmaps[0, 4:12, 4:8] = True
    bitmaps[1] = True
    cropped = mask_ops.crop_in_boxes(bitmaps, torch.tensor([[4.0, 4, 12, 12], [0.0, 0, 20, 20]]), 4)
    assert cropped[0].tolist() == [[True, True, False, False]] * 4
    assert cropped[1].all()


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_run_lengths_of_a_crop_equal_those_of_the_whole_image(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
    bits = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    crop = np.array(bits, dtype=bool).reshape(rows, columns)
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    whole[top : top + rows, left : left + columns] = crop
    wanted = coco_mask.encode(whole)
    found = mask_ops.encode_crop(crop, top, left, (height, width))
    assert found == {"size": [height, width], "counts": wanted["counts"].decode()}


def test_run_lengths_of_a_full_image() -> None:
    found = mask_ops.encode_crop(np.ones((5, 7), dtype=bool), 0, 0, (5, 7))
    assert coco_mask.decode(found).all() and coco_mask.area(found) == 35


def test_pasted_crop_equals_the_paste_over_the_whole_image() -> None:
    rng = torch.Generator().manual_seed(0)
    size = (61, 83)
    corner = torch.rand(40, 2, generator=rng) * torch.tensor([80.0, 58.0])
    sides = torch.rand(40, 2, generator=rng) ** 2 * torch.tensor([83.0, 61.0]) + 0.05
    boxes = torch.cat([corner, torch.minimum(corner + sides, torch.tensor([83.0, 61.0]))], dim=1)
    squares = torch.rand(40, 28, 28, generator=rng)
    squares[:20] = squares[:20].round()
    found = mask_ops.paste_as_runs(squares, boxes, size)
    painted = 0
    for square, box, runs in zip(squares, boxes, found, strict=True):
        whole = _paste_everywhere(square, box, size)
        painted += int(whole.sum())
        assert np.array_equal(coco_mask.decode(runs).astype(bool), whole)
    assert painted > 1000


def _paste_everywhere(square: torch.Tensor, box: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    y = (torch.arange(size[0]) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    x = (torch.arange(size[1]) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    return (F.grid_sample(square[None, None], grid[None], align_corners=False)[0, 0] >= 0.5).numpy()
