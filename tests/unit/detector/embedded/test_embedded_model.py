"""The built model: what the configuration decides, what training needs, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsl_det.core.config import Config, load
from wsl_det.detector import initial
from wsl_det.detector.defaults import TREE
from wsl_det.detector.embedded.engine import Engine
from wsl_det.detector.types import Example, Target
from wsl_det.errors import ConfigError, EngineError

TINY = Path(__file__).parents[3] / "golden" / "tiny.yaml"


def _config(*pairs: Any) -> Config:
    return load(TINY, TREE, pairs)


def _example(number: int, boxes: list[list[float]], size: tuple[int, int] = (64, 96)) -> Example:
    rng = np.random.default_rng(number)
    polygons = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes]
    target = Target(torch.tensor(boxes).reshape(-1, 4), torch.arange(len(boxes)) % 5, polygons)
    image = torch.from_numpy(rng.integers(0, 255, (3, *size), dtype=np.uint8))
    return Example(image, number, size[0] * 2, size[1] * 2, target)


def _ready(*pairs: Any) -> tuple[Engine, Any]:
    engine = Engine(_config(*pairs))
    model = engine.build()
    initial.draw(model, seed=0)
    return engine, model


def _losses(engine: Engine, model: Any, batch: list[Example], seed: int = 0) -> dict[str, torch.Tensor]:
    with engine.running(seed):
        return model(engine.encode(batch))


def test_weights_wait_to_be_loaded_or_drawn() -> None:
    model = Engine(_config()).build()
    assert all(p.isnan().all() for name, p in model.named_parameters() if ".norm." not in name)
    initial.draw(model, seed=0)
    assert all(p.isfinite().all() for p in model.parameters())


def test_building_and_training_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    engine, model = _ready()
    _losses(engine, model, [_example(0, [[5, 5, 40, 40]])])
    assert torch.equal(before, torch.get_rng_state())


def test_every_trained_parameter_gets_a_gradient_even_without_objects() -> None:
    """DDP waits for ever for a gradient that never comes."""
    engine, model = _ready("MODEL.BACKBONE.FREEZE_AT", 0)
    sum(_losses(engine, model, [_example(0, []), _example(1, [])]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_an_image_without_objects_beside_one_with() -> None:
    engine, model = _ready()
    losses = _losses(engine, model, [_example(0, []), _example(1, [[4, 4, 60, 50]])])
    assert sorted(losses) == ["loss_box_reg", "loss_cls", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"]
    assert all(value.isfinite() and value > 0 for value in losses.values())


def test_masks_off() -> None:
    engine, model = _ready("MODEL.MASK_ON", False)
    assert not any("mask" in key for key in model.state_dict())
    assert "loss_mask" not in _losses(engine, model, [_example(0, [[5, 5, 40, 40]])])
    (found,) = engine.decode(model.eval()(engine.encode([_example(0, [])])))
    assert found.masks is None


def test_predictions_are_in_the_original_frame() -> None:
    engine, model = _ready()
    with torch.no_grad():
        (found,) = engine.decode(model.eval()(engine.encode([_example(0, [], size=(64, 96))])))
    assert len(found.scores) > 5 and (found.scores.diff() <= 0).all()
    assert found.boxes_xyxy[:, 2].max() <= 192 and found.boxes_xyxy[:, 3].max() <= 128
    assert found.boxes_xyxy[:, 2].max() > 96
    assert found.masks is not None and found.masks[0]["size"] == [128, 192]


def test_nothing_found_is_an_empty_prediction() -> None:
    engine, model = _ready("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.99)
    with torch.no_grad():
        (found,) = engine.decode(model.eval()(engine.encode([_example(0, [])])))
    assert found.boxes_xyxy.shape == (0, 4) and found.masks == []


def test_frozen_stages_do_not_train_and_their_batch_norms_stand_still() -> None:
    engine, model = _ready("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 2)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all("stem" in name or "res2" in name for name in frozen)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    _losses(engine, model, [_example(0, [[5, 5, 40, 40]])])
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert any("res3" in key for key in moved)
    assert not any("stem" in key or "res2" in key for key in moved)


def test_equal_seeds_draw_equal_samples() -> None:
    engine, model = _ready()
    batch = [_example(0, [[5, 5, 40, 40]])]
    first, again, other = (_losses(engine, model, batch, seed) for seed in (1, 1, 2))
    assert first == again and first["loss_rpn_cls"] != other["loss_rpn_cls"]


def test_initial_weights_depend_on_name_and_seed_only() -> None:
    _, model = _ready()
    _, wider = _ready("MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.RESNETS.NORM", "BN")
    name = "backbone.bottom_up.res4.1.conv2.weight"
    assert torch.equal(model.get_parameter(name), wider.get_parameter(name))
    initial.draw(wider, seed=1)
    assert not torch.equal(model.get_parameter(name), wider.get_parameter(name))


def test_a_model_whose_weights_nobody_can_draw_is_named() -> None:
    with pytest.raises(EngineError, match=r"parameter head\.weight: .*Cascade"):
        initial.draw(torch.nn.ModuleDict({"head": torch.nn.Linear(2, 2)}), seed=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.META_ARCHITECTURE", "RetinaNet"),
        ("MODEL.KEYPOINT_ON", True),
        ("MODEL.RESNETS.NORM", "LN"),
        ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        ("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True),
        ("MODEL.ROI_MASK_HEAD.POOLER_TYPE", ""),
    ],
)
def test_what_only_detectron2_can_do_is_named(key: str, value: Any) -> None:
    with pytest.raises(EngineError, match=f"(?s){key.replace('.', '[.]')}.*--engine detectron2"):
        Engine(_config(key, value)).build()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("MODEL.FPN.IN_FEATURES", ["res2", "res3"]), "FPN.IN_FEATURES"),
        (("MODEL.RPN.IN_FEATURES", ["p2", "p9"]), "p9"),
        (("MODEL.RPN.IOU_LABELS", [0, 1]), "IOU_LABELS"),
        (("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16]]), "ANCHOR_GENERATOR.SIZES"),
        (("MODEL.RESNETS.DEPTH", 18), "RES2_OUT_CHANNELS 64"),
        (("MODEL.ROI_BOX_HEAD.NUM_FC", 0), "NUM_FC"),
        (("MODEL.PIXEL_STD", [1.0]), "PIXEL_STD"),
        (("MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p4"]), "ROI_HEADS.IN_FEATURES"),
    ],
)
def test_what_nobody_can_build_is_named(pairs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Engine(_config(*pairs)).build()
