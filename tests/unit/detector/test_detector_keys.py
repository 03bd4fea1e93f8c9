"""Whatever a detection key is given, a run begins as asked or ends in an error that names the key."""

from __future__ import annotations

from pathlib import Path

import hostile_values
import pytest
import torch

from wsl_det.core import config
from wsl_det.core.config import Config
from wsl_det.detector import defaults, loader, settings, solver
from wsl_det.detector.embedded import build

TINY = config.load(Path(__file__).parents[2] / "golden" / "tiny.yaml", defaults.TREE)
KEYS = sorted(TINY.flat())


def prepare(cfg: Config) -> None:
    """What train_net makes of a configuration before it reads data, less the model."""
    settings.check(cfg)
    solver.scaled_to(cfg, 2)
    factor = solver.learning_rate(cfg)
    assert all(factor(i) >= 0 for i in (0, cfg.SOLVER.MAX_ITER // 2, cfg.SOLVER.MAX_ITER - 1))
    settings.amp(cfg)
    loader.training_augmentation(cfg)
    build.inference_switches(cfg)
    assert config.merge(defaults.TREE, cfg.to_dict()) == cfg


def build_all(cfg: Config) -> None:
    """The model without storage, its optimizer and its clipping."""
    with torch.device("meta"):
        model = build.build_model(cfg, torch.Generator())
        assert solver.optimizer(cfg, model).param_groups
    solver.clipping(cfg, model.parameters())


def test_defaults_fit_their_own_rules() -> None:
    assert config.merge(defaults.TREE, defaults.TREE).flat() == Config(defaults.TREE).flat()
    assert set(defaults.TREE.rules) <= set(KEYS)
    prepare(TINY)
    build_all(TINY)


def test_every_key_takes_or_refuses_every_value() -> None:
    for key in KEYS:
        for cfg in hostile_values.taken(TINY, key):
            hostile_values.begins_or_is_refused(prepare, cfg)


@pytest.mark.slow
def test_every_value_that_is_taken_makes_a_model_or_is_refused() -> None:
    for key in KEYS:
        for cfg in hostile_values.taken(TINY, key):
            hostile_values.begins_or_is_refused(build_all, cfg)
