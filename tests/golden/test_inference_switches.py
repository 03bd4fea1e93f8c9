"""WSL_DET.INFERENCE with everything on against what a real Detectron2 gave.

Tolerances, of the largest value. float32: those of the plain engine (NETWORK in
test_detectron2_recordings.py). bfloat16: 8 bits through
the fifty layers of a network with random weights; detections are compared by the boxes that both
find, since close scores change places.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scenes
import torch
import yaml
from torchvision.ops import box_iou

from wsl_det.core.config import Config, merge
from wsl_det.detector.defaults import TREE
from wsl_det.detector.embedded.engine import Engine
from wsl_det.detector.types import Prediction

ALL_ON = {"FOLD_BN": True, "CHANNELS_LAST": True, "CLASS_MASKS": True}
SETS = {
    "float32": (ALL_ON, 1e-4),
    "bfloat16": ({**ALL_ON, "PRECISION": "bfloat16"}, 0.05),
}
Arrays = dict[str, np.ndarray]


def _config(name: str, limit: int) -> Config:
    cfg = yaml.safe_load(scenes.TINY.read_text())
    cfg["TEST"]["DETECTIONS_PER_IMAGE"] = limit
    return merge(TREE, {**cfg, "WSL_DET": {"INFERENCE": SETS[name][0]}})


def _fast(name: str, limit: int = 150) -> tuple[Engine, Any]:
    engine = Engine(_config(name, limit))
    return engine, engine.for_inference(scenes.fill(engine.build(), seed=3).eval())


@pytest.mark.parametrize("name", SETS)
def test_features(name: str, tiny_arrays: Arrays) -> None:
    _, model = _fast(name)
    with torch.no_grad():
        features = model.backbone(model.normalise([e.image for e in scenes.batch(0)])[0])
    for level, value in features.items():
        wanted = torch.from_numpy(tiny_arrays[f"feature_{level}"])
        assert (value[0, ::4] - wanted).abs().max() <= SETS[name][1] * wanted.abs().max(), level


def _detections(name: str, limit: int) -> list[Prediction]:
    engine, model = _fast(name, limit)
    with torch.no_grad():
        return engine.decode(model(engine.encode(scenes.batch(0))))


def test_detections_in_float32(tiny_arrays: Arrays) -> None:
    found = _detections("float32", len(tiny_arrays["scores_0"]))
    for i, one in enumerate(found):
        assert np.array_equal(one.classes.numpy(), tiny_arrays[f"classes_{i}"])
        for ours, theirs in ((one.scores, "scores"), (one.boxes_xyxy, "boxes")):
            wanted = torch.from_numpy(tiny_arrays[f"{theirs}_{i}"])
            assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max(), (i, theirs)


def test_detections_in_bfloat16(tiny_arrays: Arrays) -> None:
    found = _detections("bfloat16", len(tiny_arrays["scores_0"]))
    shared = []
    for i, one in enumerate(found):
        boxes = torch.from_numpy(tiny_arrays[f"boxes_{i}"])
        same_class = torch.from_numpy(tiny_arrays[f"classes_{i}"])[:, None] == one.classes[None]
        close = (box_iou(boxes, one.boxes_xyxy) > 0.5) & same_class
        shared += close.any(dim=1).tolist()
    assert np.mean(shared) > 0.8
