"""Little pictures of coloured boxes in COCO format, and a detector small enough to train in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsl_det.core import config
from wsl_det.detector import defaults

TINY = {
    "MODEL": {
        "DEVICE": "cpu",
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
        "RESNETS": {
            "DEPTH": 50,
            "NORM": "BN",
            "WIDTH_PER_GROUP": 4,
            "STEM_OUT_CHANNELS": 8,
            "RES2_OUT_CHANNELS": 16,
            "STRIDE_IN_1X1": False,
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 8},
        "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [48], [64]]},
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TRAIN": 50,
            "POST_NMS_TOPK_TRAIN": 30,
            "PRE_NMS_TOPK_TEST": 50,
            "POST_NMS_TOPK_TEST": 20,
        },
        "ROI_HEADS": {
            "NAME": "StandardROIHeads",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "NUM_CLASSES": 2,
            "BATCH_SIZE_PER_IMAGE": 16,
            "SCORE_THRESH_TEST": 0.0,
        },
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16, "POOLER_RESOLUTION": 7},
        "ROI_MASK_HEAD": {"NUM_CONV": 1, "CONV_DIM": 8},
    },
    "INPUT": {"MIN_SIZE_TRAIN": [48, 64], "MAX_SIZE_TRAIN": 96, "MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96},
    "DATASETS": {"TRAIN": ["train"], "TEST": ["val"]},
    "DATALOADER": {"NUM_WORKERS": 0},
    "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 4, "STEPS": [], "WARMUP_ITERS": 0, "BASE_LR": 0.005},
    "TEST": {"DETECTIONS_PER_IMAGE": 5},
    "SEED": 5,
}


def write_scenes(folder: Path, count: int, seed: int = 0) -> Path:
    """``count`` pictures of 64 x 48 or 48 x 64 with two boxes each, classes 3 and 8; the json's path."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(count):
        width, height = (64, 48) if k % 2 else (48, 64)
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        images.append({"id": k + 10, "file_name": f"{k}.png", "height": height, "width": width})
        for category in (3, 8):
            x, y = (int(v) for v in rng.integers(0, 20, 2))
            w, h = (int(v) for v in rng.integers(12, 24, 2))
            pixels[y : y + h, x : x + w] = (220, 40, 40) if category == 3 else (40, 40, 220)
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k + 10,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [corners],
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{k}.png")
    categories = [{"id": 3, "name": "red"}, {"id": 8, "name": "blue"}]
    path = folder / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture(scope="session")
def make_scenes():
    """``write_scenes``, for fixtures that live longer than a test."""
    return write_scenes


@pytest.fixture(scope="session")
def tiny_tree():
    """The tiny detector's settings as a tree."""
    return TINY


@pytest.fixture
def scenes(tmp_path):
    """Registered sets "train" (8 pictures) and "val" (3)."""
    found = {}
    for name, count in (("train", 8), ("val", 3)):
        path = write_scenes(tmp_path / name, count, seed=count)
        found[name] = (str(path), str(path.parent / "images"))
    return found


@pytest.fixture
def tiny(tmp_path):
    """A function from KEY, VALUE, ... to the tiny detector's config; OUTPUT_DIR is tmp_path/run."""
    return lambda *overrides: config.merge(
        defaults.TREE, TINY, ["OUTPUT_DIR", str(tmp_path / "run"), *overrides]
    )
