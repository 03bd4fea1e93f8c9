"""Recall on held-out posts, counted by hand."""

from __future__ import annotations

from contextlib import nullcontext

import cv2
import numpy as np
import torch
from torch import nn

from pretrain.stream.loader import pack_tags
from pretrain.stream.transforms import TestCrop
from pretrain.training import probe


def test_any_and_set_recall_by_hand() -> None:
    top = torch.tensor([[5, 1, 2], [0, 3, 4], [2, 1, 0]])
    tags = pack_tags([np.array(r, np.int32) for r in ([1, 5], [4], [3, 4, 0, 1])])
    found = {name: float(v) for name, v in probe.recall(top, tags, (1, 2, 3)).items()}
    assert found == {
        "recall_any@1": 1,  # only the first image's best class is among its tags
        "recall_set@1": 0.5,
        "recall_any@2": 2,
        "recall_set@2": 1 + 0.25,
        "recall_any@3": 3,
        "recall_set@3": 1 + 1 + 0.5,
    }


def test_padding_is_no_tag() -> None:
    # The padded table is filled with 0: class 0 on top must not count for an image of one tag.
    tags = pack_tags([np.array([3], np.int32), np.array([1, 2], np.int32)])
    found = probe.recall(torch.tensor([[0], [0]]), tags, (1,))
    assert float(found["recall_any@1"]) == 0


def test_constant_guess_is_the_most_frequent_training_tags() -> None:
    labels = [np.array(r, np.int32) for r in ([0], [1, 2], [2], [3])]
    found = probe.constant_guess(labels, np.array([1, 0, 9, 5]), (1, 2, 5))
    assert found["recall_any@1"] == 50
    assert found["recall_set@1"] == 37.5
    assert found["recall_any@2"] == 75
    assert found["recall_any@5"] == 100  # more than there are classes is all of them


class GreyPosts:
    """Photo i is grey of level 20 i, tagged i; photo 2 does not decode."""

    label_offsets = np.arange(6)
    label_values = np.arange(5, dtype=np.int32)

    def __len__(self) -> int:
        return 5

    def key(self, image: int) -> str:
        return str(image)

    def ahead(self, order: object) -> nullcontext[None]:
        return nullcontext()

    def read(self, image: int) -> bytes:
        grey = np.full((8, 8, 3), 20 * image, np.uint8)
        return b"" if image == 2 else cv2.imencode(".jpg", grey)[1].tobytes()


class Nearest(nn.Module):
    """Knows the grey levels of the first four classes, and sees class 4 as class 3."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([0.0, 20, 40, 60, 1000]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return -(images.mean((1, 2, 3))[:, None] - self.levels).abs()


def test_measure_counts_what_decodes_in_percent() -> None:
    found = probe.measure(
        Nearest(),
        GreyPosts(),
        np.array([0, 1, 2, 3, 4]),
        TestCrop(8, 8),
        pixel_mean=(0, 0, 0),
        pixel_std=(1, 1, 1),
        ranks=(1, 5),
        batch=2,
    )
    assert found["heldout_images"] == 4
    assert found["recall_any@1"] == 75
    assert found["recall_any@5"] == 100


def test_measure_of_nothing_that_decodes_has_no_recall() -> None:
    found = probe.measure(
        Nearest(), GreyPosts(), np.array([2]), TestCrop(8, 8), pixel_mean=(0, 0, 0), pixel_std=(1, 1, 1)
    )
    assert found == {"heldout_images": 0.0}
