"""Training under both engines: one start, one sequence of draws, one trajectory."""

from __future__ import annotations

from typing import Any

import pytest
import scenes
import torch

from wsl_det.core import seed as seeds
from wsl_det.detector import initial
from wsl_det.detector.engine import select_engine

STEPS = 24


def _train(name: str, steps: int, **overrides: Any) -> tuple[list[dict[str, float]], torch.nn.Module]:
    engine = select_engine(name)(scenes.config(**overrides))
    model = engine.build()
    initial.draw(model, seed=5)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-4)
    history = []
    for step in range(steps):
        losses = scenes.run_losses(engine, model, scenes.batch(step % 3), seeds.derive(7, step, 0))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({key: value.item() for key, value in losses.items()})
    return history, model


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_trajectory_is_equal(norm: str) -> None:
    widths = {"RESNETS__STEM_OUT_CHANNELS": 32, "RESNETS__WIDTH_PER_GROUP": 8}
    overrides = {"RESNETS__NORM": norm, "BACKBONE__FREEZE_AT": 0, **widths}
    history, model = _train("embedded", STEPS, **overrides)
    wanted, reference = _train("detectron2", STEPS, **overrides)
    # One thread, the same operations in the same order: not one bit may differ, even after 24 steps.
    assert history == wanted
    state = model.state_dict()
    for key, value in reference.state_dict().items():
        assert torch.equal(state[key], value), key
    # It did train: a trajectory of nothing would be equal too.
    assert sum(history[-1].values()) < 0.7 * sum(history[0].values())


def test_another_seed_draws_another_sample(pair: Any) -> None:
    for engine, model in pair():
        examples = scenes.batch(0)
        first, again, other = (scenes.run_losses(engine, model, examples, s) for s in (1, 1, 2))
        assert first == again
        assert first["loss_rpn_cls"] != other["loss_rpn_cls"]


def test_detectron2_leaves_the_global_generator_alone(pair: Any) -> None:
    _, (engine, model) = pair()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    scenes.run_losses(engine, model, scenes.batch(0), 1)
    engine.build()
    assert torch.equal(before, torch.get_rng_state())


def test_initial_weights_have_detectron2s_distributions() -> None:
    """Scale and shape of every weight that Detectron2 draws, against what it drew itself."""
    # Wide enough that a standard deviation is known to a few per cent.
    cfg = scenes.config(ROI_BOX_HEAD__NUM_CONV=1, ROI_BOX_HEAD__CONV_DIM=64, FPN__OUT_CHANNELS=64)
    theirs = select_engine("detectron2")(cfg).build()
    ours = select_engine("embedded")(cfg).build()
    initial.draw(ours, seed=0)
    drawn = dict(ours.named_parameters())
    for key, wanted in theirs.named_parameters():
        if wanted.ndim < 2:
            assert torch.equal(drawn[key], wanted), key
            continue
        # Four standard errors of a standard deviation estimated from n values, for each of the two.
        tolerance = 4 * 2 / (2 * wanted.numel()) ** 0.5
        assert drawn[key].std().item() == pytest.approx(wanted.std().item(), rel=tolerance), key
        # Uniform weights end at sqrt(3) deviations, normal ones of this number go well beyond.
        if wanted.numel() > 1000:
            uniform = wanted.abs().max() / wanted.std() < 1.9
            assert (drawn[key].abs().max() / drawn[key].std() < 1.9) == uniform, key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_losses_are_equal(pair: Any, dtype: torch.dtype) -> None:
    """The same operations leave float32 in both engines."""
    found = []
    for engine, model in pair():
        with torch.autocast("cpu", dtype=dtype):
            found.append(scenes.run_losses(engine, model, scenes.batch(0), 1))
    assert found[0] == found[1]
