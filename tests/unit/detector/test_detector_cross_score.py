"""Cross-scoring: the diagonal is plain inference; exchanging one part of a model changes only its axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from wsl_det import predictions
from wsl_det.core.config import Config
from wsl_det.detector import cross_score, initial, train
from wsl_det.detector.cross_score import Detector
from wsl_det.detector.engine import select_engine
from wsl_det.errors import CheckpointError, ConfigError

Cells = dict[tuple[str, str], list[dict[str, Any]]]


def _weights(cfg: Config, seed: int) -> dict[str, torch.Tensor]:
    """A random detector that prefers some classes and moves some boxes, which an untrained one does not."""
    model: Any = select_engine("embedded")(cfg).build()
    initial.draw(model, seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    # Statistics of noise: with those of an untrained batch norm the activations grow without bound.
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.train().backbone(60 * torch.randn(2, 3, 64, 96, generator=rng))
    state = dict(model.state_dict())
    for name, factor in (("cls_score.weight", 30), ("bbox_pred.weight", 300)):
        state[f"roi_heads.box_predictor.{name}"] = factor * state[f"roi_heads.box_predictor.{name}"]
    return state


def _save(path: Path, state: dict[str, torch.Tensor], **header: Any) -> str:
    torch.save({"model": state, "wsl_det": header}, path)
    return str(path)


def _cross(detectors: list[Detector], scenes: Any, folder: Path) -> Cells:
    _, cells = cross_score.run(detectors, "val", scenes, folder)
    return {key: json.loads(path.read_text()) for key, path in cells.items()}


def _plain(cfg: Config, weights: str, scenes: Any, folder: Path) -> list[dict[str, Any]]:
    cfg = cfg.override(MODEL__WEIGHTS=weights, OUTPUT_DIR=str(folder))
    train.run(train.Job(cfg, scenes, engine="embedded", eval_only=True))
    return json.loads((folder / "predictions.json").read_text())


def test_the_diagonal_is_plain_inference(tiny, scenes, tmp_path):
    # Another channel order, other statistics and another size: each detector keeps its own.
    first = tiny()
    second = tiny(
        "INPUT.FORMAT", "RGB", "MODEL.PIXEL_STD", "[58.4, 57.1, 57.4]", "INPUT.MIN_SIZE_TEST", 48,
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True,
    )  # fmt: skip
    paths = [_save(tmp_path / f"{i}.pth", _weights(cfg, i)) for i, cfg in enumerate((first, second))]
    found = _cross([Detector("a", first, paths[0]), Detector("b", second, paths[1])], scenes, tmp_path / "x")
    assert found["a", "a"] == _plain(first, paths[0], scenes, tmp_path / "plain_a")
    assert found["b", "b"] == _plain(second, paths[1], scenes, tmp_path / "plain_b")
    assert found["a", "b"] != found["a", "a"]
    assert found["b", "a"] != found["b", "b"]
    assert all(rows and "segmentation" in rows[0] for rows in found.values())


def test_other_class_weights_change_scores_only_by_head(tiny, scenes, tmp_path):
    cfg = tiny()
    state = _weights(cfg, 0)
    other = dict(state)
    other["roi_heads.box_predictor.cls_score.weight"] = state[
        "roi_heads.box_predictor.cls_score.weight"
    ].flip(0)
    paths = _save(tmp_path / "a.pth", state), _save(tmp_path / "b.pth", other)
    found = _cross([Detector("a", cfg, paths[0]), Detector("b", cfg, paths[1])], scenes, tmp_path / "x")
    assert found["a", "a"] == found["b", "a"]
    assert found["a", "b"] == found["b", "b"]
    assert found["a", "a"] != found["a", "b"]


def test_other_box_weights_change_boxes_only_by_boxes(tiny, scenes, tmp_path):
    # Nothing is suppressed and nothing cut, so the boxes cannot choose among the scores.
    cfg = tiny(
        "MODEL.ROI_HEADS.NMS_THRESH_TEST", 1.0, "TEST.DETECTIONS_PER_IMAGE", 1000, "MODEL.MASK_ON", False
    )
    state = _weights(cfg, 0)
    other = dict(state)
    other["roi_heads.box_predictor.bbox_pred.weight"] = -state["roi_heads.box_predictor.bbox_pred.weight"]
    paths = _save(tmp_path / "a.pth", state), _save(tmp_path / "b.pth", other)
    found = _cross([Detector("a", cfg, paths[0]), Detector("b", cfg, paths[1])], scenes, tmp_path / "x")
    assert found["a", "a"] == found["a", "b"]
    assert found["b", "a"] == found["b", "b"]
    assert found["a", "a"] != found["b", "b"]


def test_headers_say_whose_boxes_and_whose_head(tiny, scenes, tmp_path):
    cfg = tiny()
    paths = [
        _save(tmp_path / f"{i}.pth", _weights(cfg, i), backbone={"name": f"trunk {i}"}) for i in range(2)
    ]
    _, cells = cross_score.run(
        [Detector("a", cfg, paths[0]), Detector("b", cfg, paths[1])], "val", scenes, tmp_path / "x"
    )
    meta = predictions.read_meta(cells["a", "b"])
    assert meta is not None
    assert (meta["cross"]["boxes"], meta["cross"]["scores"]) == ("a", "b")
    assert meta["backbone"] == {"name": "trunk 0"}
    assert meta["cross"]["scored_by"]["backbone"] == {"name": "trunk 1"}
    assert meta["weights"]["path"] == paths[0]


def test_what_cannot_be_crossed_is_refused_before_anything_is_written(tiny, scenes, tmp_path):
    cfg = tiny()
    path = _save(tmp_path / "a.pth", _weights(cfg, 0))
    wrong = _save(tmp_path / "c.pth", _weights(cfg, 0), categories=[{"id": 1, "name": "cat"}])
    out = tmp_path / "x"
    with pytest.raises(ConfigError, match=r"NMS_THRESH_TEST differs \(a 0.5, b 0.7\)"):
        other = cfg.override(MODEL__ROI_HEADS__NMS_THRESH_TEST=0.7)
        _cross([Detector("a", cfg, path), Detector("b", other, path)], scenes, out)
    with pytest.raises(
        CheckpointError, match=r"other categories than .*c\.pth: in id order, number 1 is 'red' here"
    ):
        _cross([Detector("a", cfg, path), Detector("b", cfg, wrong)], scenes, out)
    with pytest.raises(CheckpointError, match="does not exist"):
        _cross([Detector("a", cfg, path), Detector("b", cfg, str(tmp_path / "no.pth"))], scenes, out)
    with pytest.raises(ConfigError, match="each needs its own name"):
        _cross([Detector("a", cfg, path), Detector("a", cfg, path)], scenes, out)
    assert not out.exists()
