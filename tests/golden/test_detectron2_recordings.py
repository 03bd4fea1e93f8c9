"""The embedded engine against what a real Detectron2 gave, stage by stage from recorded inputs.

Tolerances. EXACT where only copies, comparisons and single roundings are involved. NETWORK: a
convolution's sum may run in another order on another processor (the recordings were made on one
thread of one machine); 1e-4 of the largest value is some hundred roundings of float32. ELEMENTWISE:
exp and log differ by a rounding or two between vector libraries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lvis_files
import numpy as np
import pytest
import scenes
import torch
import yaml
from torch import Tensor

from wsl_det.core.config import merge
from wsl_det.detector import coco_records, sampler
from wsl_det.detector.defaults import TREE
from wsl_det.detector.embedded import mask_ops
from wsl_det.detector.embedded.build import build_model
from wsl_det.detector.embedded.engine import Engine
from wsl_det.detector.embedded.rpn import find_top_proposals

HERE = Path(__file__).parent
NETWORK = 1e-4
ELEMENTWISE = 1e-5
LEVELS = range(5)
IMAGES = range(len(scenes.SHAPES))
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(scenes.config())


@pytest.fixture(scope="module")
def model(engine: Engine) -> Any:
    return scenes.fill(engine.build(), seed=3)


def _close(ours: Tensor, wanted: np.ndarray, tolerance: float, what: str) -> None:
    reference = torch.from_numpy(wanted)
    assert ours.shape == reference.shape, what
    if reference.numel():
        worst = (ours - reference).abs().max() / reference.abs().max()
        assert worst <= tolerance, f"{what}: off by {worst:.2e} of the largest value"


def _levels(arrays: Arrays, name: str) -> list[Tensor]:
    return [torch.from_numpy(arrays[f"{name}_{level}"]) for level in LEVELS]


def test_every_file_says_where_it_comes_from() -> None:
    for path in HERE.glob("*.json"):
        origin = json.loads(path.read_text())["origin"]
        assert len(origin["commit"]) == 40 and origin["detectron2"], path
        assert origin["torch"] and "tests.golden.record" in origin["command"], path


def test_keys_and_shapes_of_x101() -> None:
    golden = json.loads((HERE / "mask_rcnn_x101_keys.json").read_text())
    cfg = merge(TREE, golden["config"])
    with torch.device("meta"):
        state = build_model(cfg, torch.Generator("cpu")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == golden["keys"]
    assert len(state) == 562


def test_features(model: Any, tiny_arrays: Arrays) -> None:
    images, _ = model.normalise([e.image for e in scenes.batch(0)])
    with torch.no_grad():
        features = model.train().backbone(images)
    assert list(features) == ["p2", "p3", "p4", "p5", "p6"]
    for name, value in features.items():
        _close(value[0, ::4], tiny_arrays[f"feature_{name}"], NETWORK, name)


def test_rpn_head_and_anchors(model: Any, tiny_arrays: Arrays) -> None:
    images, _ = model.normalise([e.image for e in scenes.batch(0)])
    with torch.no_grad():
        maps = list(model.backbone(images).values())
        logits, offsets = model.proposal_generator.rpn_head(maps)
    anchors = model.proposal_generator.anchor_generator(maps)
    for level in LEVELS:
        assert np.array_equal(anchors[level].numpy(), tiny_arrays[f"anchors_{level}"])
        _close(logits[level], tiny_arrays[f"logits_{level}"], NETWORK, f"logits of level {level}")
        _close(offsets[level], tiny_arrays[f"deltas_{level}"], NETWORK, f"offsets of level {level}")


def test_proposals(model: Any, tiny_arrays: Arrays) -> None:
    rpn = model.proposal_generator
    anchors, offsets = _levels(tiny_arrays, "anchors"), _levels(tiny_arrays, "deltas")
    boxes = [
        torch.stack([rpn.coder.decode(image, anchor) for image in level])
        for anchor, level in zip(anchors, offsets, strict=True)
    ]
    found = find_top_proposals(
        boxes,
        _levels(tiny_arrays, "logits"),
        [shape[:2] for shape in scenes.SHAPES],
        pre_nms_topk=rpn.pre_nms_topk[0],
        post_nms_topk=rpn.post_nms_topk[0],
        nms_threshold=rpn.nms_threshold,
        min_size=rpn.min_size,
    )
    for i in IMAGES:
        assert np.array_equal(found[i].logits.numpy(), tiny_arrays[f"proposal_logits_{i}"])
        _close(found[i].boxes, tiny_arrays[f"proposals_{i}"], ELEMENTWISE, f"proposals of image {i}")


def test_sampled_anchors_and_proposals(
    engine: Engine, model: Any, tiny_arrays: Arrays, tiny_report: dict[str, Any]
) -> None:
    examples = scenes.batch(0)
    targets = [e.target for e in examples]
    with engine.running(tiny_report["origin"]["seed"]):
        labels, _ = model.proposal_generator.label_anchors(
            torch.cat(_levels(tiny_arrays, "anchors")),
            [shape[:2] for shape in scenes.SHAPES],
            [t.boxes_xyxy for t in targets if t],
        )
        for i in IMAGES:
            proposals = torch.from_numpy(tiny_arrays[f"proposals_{i}"])
            sample = model.roi_heads.sample(proposals, targets[i])
            assert np.array_equal(labels[i].numpy(), tiny_arrays[f"anchor_labels_{i}"])
            assert np.array_equal(sample.boxes.numpy(), tiny_arrays[f"sample_boxes_{i}"])
            assert np.array_equal(sample.classes.numpy(), tiny_arrays[f"sample_classes_{i}"])


def test_detections(tiny_arrays: Arrays, tiny_report: dict[str, Any]) -> None:
    cfg = yaml.safe_load(scenes.TINY.read_text())
    cfg["TEST"]["DETECTIONS_PER_IMAGE"] = len(tiny_arrays["scores_0"])
    engine = Engine(merge(TREE, cfg))
    model = scenes.fill(engine.build(), seed=3).eval()
    with torch.no_grad():
        found = engine.decode(model(engine.encode(scenes.batch(0))))
    for i in IMAGES:
        assert np.array_equal(found[i].classes.numpy(), tiny_arrays[f"classes_{i}"])
        _close(found[i].scores, tiny_arrays[f"scores_{i}"], NETWORK, f"scores of image {i}")
        _close(found[i].boxes_xyxy, tiny_arrays[f"boxes_{i}"], NETWORK, f"boxes of image {i}")


def test_pasted_masks(tiny_arrays: Arrays, tiny_report: dict[str, Any]) -> None:
    """Exact: from equal squares and boxes the run lengths are equal letter by letter."""
    long = 0
    for i, (height, width, _) in enumerate(scenes.SHAPES):
        squares = torch.from_numpy(tiny_arrays[f"mask_squares_{i}"])
        boxes = torch.from_numpy(tiny_arrays[f"boxes_{i}"])
        runs = mask_ops.paste_as_runs(squares, boxes, (round(height * 1.7), round(width * 1.9)))
        assert runs == tiny_report["masks"][i]
        long += sum(len(run["counts"]) > 20 for run in runs)
    assert long >= 5, "the recording must hold masks that are neither empty nor full"


def test_gradients_and_training(tiny_report: dict[str, Any]) -> None:
    engine = Engine(scenes.config(**scenes.SMOOTH))
    model = scenes.fill(engine.build(), seed=3).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.002, momentum=0.9, weight_decay=1e-4)
    for step, wanted in enumerate(tiny_report["trajectory"]):
        examples = scenes.batch(step % 3, shapes=scenes.SMALL)
        losses = scenes.run_losses(engine, model, examples, tiny_report["origin"]["seed"] + step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 0:
            _compare_gradients(model, tiny_report["gradients"])
        optimizer.step()
        # Roundings grow along a trajectory, and a proposal whose overlap lies at a threshold may change
        # sides, one of some hundred.
        tolerance = 1e-4 if step == 0 else 0.01
        assert losses.keys() == wanted.keys()
        for key, value in losses.items():
            assert value.item() == pytest.approx(wanted[key], rel=tolerance, abs=1e-4), f"step {step}, {key}"


def _compare_gradients(model: torch.nn.Module, golden: dict[str, list[float]]) -> None:
    gradients = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert list(gradients) == list(golden)
    for key, (norm, total, *first) in golden.items():
        gradient = gradients[key].grad
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-6), key
        # A sum of n terms of both signs is known to rounding times the norm times sqrt(n).
        scale = norm * gradient.numel() ** 0.5
        assert gradient.sum().item() == pytest.approx(total, abs=1e-3 * scale + 1e-6), key
        assert gradient.flatten()[:3].tolist() == pytest.approx(first, abs=1e-3 * norm + 1e-6), key


def test_lvis_files_repeats_and_epochs_are_detectron2s(tmp_path: Path) -> None:
    """Records, repeat factors, and the epochs that one generator draws, rounding by rounding."""
    golden = json.loads((HERE / "lvis_sampler.json").read_text())
    root = lvis_files.write(tmp_path)
    dataset = coco_records.read(root / "lvis/lvis_v1_train.json", root / "coco", "lvis_v1_train")
    records = coco_records.training_records([dataset], masks="polygon", keep_empty=False)
    assert [r.image_id for r in records] == [image["image_id"] for image in golden["images"]]
    for record, image in zip(records, golden["images"], strict=True):
        assert (record.height, record.width) == (image["height"], image["width"])
        assert record.path == root / image["file"] and record.path.is_file()
        found = [(a.category, *a.box_xyxy) for a in record.annotations]
        assert found == [(k, x, y, x + w, y + h) for k, x, y, w, h in image["objects"]]
    for threshold in lvis_files.THRESHOLDS:
        classes = [[a.category for a in r.annotations] for r in records]
        factors = sampler.repeat_factors(classes, threshold)
        assert factors.tolist() == golden["repeats"][str(threshold)]
        rng = torch.Generator().manual_seed(golden["origin"]["seed"])
        epochs = [i for _ in range(3) for i in sampler.one_epoch(len(records), rng, factors).tolist()]
        wanted = golden["epochs"][str(threshold)]
        assert epochs[: len(wanted)] == wanted and len(wanted) > 2 * len(records)
