"""A world small enough to train in: squares and discs on 64-pixel images, and a tiny detector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

TINY = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "DEVICE": "cpu",
        "MASK_ON": True,
        "WEIGHTS": "",
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
        "RESNETS": {
            "DEPTH": 18,
            "RES2_OUT_CHANNELS": 64,
            "STEM_OUT_CHANNELS": 64,
            "NORM": "BN",
            "STRIDE_IN_1X1": False,
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 16},
        "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [64], [128]]},
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TRAIN": 50,
            "PRE_NMS_TOPK_TEST": 50,
            "POST_NMS_TOPK_TRAIN": 30,
            "POST_NMS_TOPK_TEST": 30,
        },
        "ROI_HEADS": {
            "NAME": "StandardROIHeads",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "NUM_CLASSES": 2,
            "BATCH_SIZE_PER_IMAGE": 16,
            "SCORE_THRESH_TEST": 0.0,
        },
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16, "POOLER_RESOLUTION": 3},
        "ROI_MASK_HEAD": {"NUM_CONV": 1, "CONV_DIM": 8, "POOLER_RESOLUTION": 7},
    },
    "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 2, "STEPS": [1], "WARMUP_ITERS": 0, "BASE_LR": 0.01},
    "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TRAIN": [64], "MIN_SIZE_TEST": 64},
    "DATALOADER": {"NUM_WORKERS": 0},
    "TEST": {"DETECTIONS_PER_IMAGE": 10},
    "SEED": 1,
}
CATEGORIES = [{"id": 3, "name": "square"}, {"id": 7, "name": "disc"}]


@dataclass(frozen=True)
class World:
    """A folder with ``images/``, ``train.json``, ``test.json`` and ``tiny.yaml``."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def train(self) -> Path:
        return self.folder / "train.json"

    @property
    def test(self) -> Path:
        return self.folder / "test.json"

    @property
    def config(self) -> Path:
        return self.folder / "tiny.yaml"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """See ``World``: 12 training and 4 test images, two objects on each."""
    made = World(tmp_path)
    made.images.mkdir()
    made.train.write_text(json.dumps(_set(made.images, range(1, 13))))
    made.test.write_text(json.dumps(_set(made.images, range(101, 105))))
    made.config.write_text(yaml.safe_dump(TINY))
    return made


def _set(folder: Path, ids: range) -> dict[str, Any]:
    images, annotations = [], []
    for image_id in ids:
        rng = np.random.Generator(np.random.Philox(image_id))
        height, width = 48, 64
        canvas = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        y, x = np.mgrid[:height, :width]
        for half, category in ((0, 3), (1, 7)):
            side = int(rng.integers(14, 22))
            left, top = int(rng.integers(32 - side)) + 32 * half, int(rng.integers(height - side))
            inside = (x >= left) & (x < left + side) & (y >= top) & (y < top + side)
            if category == 7:
                inside &= (x - left - side / 2) ** 2 + (y - top - side / 2) ** 2 <= side**2 / 4
            canvas[inside] = (220, 60, 40) if category == 3 else (40, 120, 230)
            corners = [left, top, left + side, top, left + side, top + side, left, top + side]
            annotations.append(
                {
                    "id": len(annotations) + 1 + 1000 * image_id,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [left, top, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": [[float(c) for c in corners]],
                }
            )
        Image.fromarray(canvas).save(folder / f"{image_id}.png")
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width})
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def study_tree(world: World) -> dict[str, Any]:
    """A study of two arms on ``world``: two learning rates, two seeds."""
    return {
        "name": "tiny",
        "output": str(world.folder / "out"),
        "data": {
            "train": {"annotations": str(world.train), "images": str(world.images)},
            "test": {"annotations": str(world.test), "images": str(world.images)},
            "heldout": 0.3,
        },
        "learning_rates": [0.01, 0.02],
        "seeds": [1, 2],
        "arms": {
            "random": {
                "config": str(world.config),
                "weights": "scratch",
                "trunk": "T",
                "pretraining": "none",
            },
            "tags": {
                "config": str(world.config),
                "weights": "scratch",
                "trunk": "T",
                "pretraining": "hashtags",
                "learning_rates": [0.02, 0.001],
            },
        },
    }
