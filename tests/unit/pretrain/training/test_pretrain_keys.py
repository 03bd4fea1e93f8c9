"""Whatever a pretraining key is given, its plan is made as asked or ends in an error that names the key."""

from __future__ import annotations

import duplicate_world as world
import hostile_values
import pytest

from pretrain.stream import jpeg_regions
from pretrain.training import defaults, job, plan
from wsl_det.core import config
from wsl_det.core.config import Config


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("keys")
    world.shards(folder)
    tree = {
        "DATA": {"SHARDS": str(folder / "shards"), "HELDOUT": 0.1, "NUM_THREADS": 1},
        "INPUT": {"SIZE": 32, "TEST_RESIZE": 32},
        "MODEL": {"DEVICE": "cpu", "BLOCKS": [1, 1, 1, 1], "GROUPS": 2, "WIDTH_PER_GROUP": 4}
        | {"RES2_CHANNELS": 16, "BN_GROUP": 4},
        "SOLVER": {"IMS_PER_BATCH": 8, "TOTAL_IMAGES": 160, "WARMUP_UPDATES": 1},
        "OUTPUT_DIR": str(folder / "run"),
    }
    return config.merge(defaults.TREE, tree)


def prepare(cfg: Config) -> None:
    """What pretrain_net makes of a configuration before any weight is drawn."""
    ready = job.prepare(cfg)
    last = ready.schedule.updates - 1
    assert all(ready.schedule.factor(i) >= 0 for i in (0, last // 2, last))
    ready.stream.epoch(0)
    job.heldout_images(cfg, ready.posts)
    jpeg_regions.choose(cfg.INPUT.REGION_DECODE)
    assert config.merge(defaults.TREE, cfg.to_dict()) == cfg


def test_defaults_fit_their_own_rules(tiny: Config) -> None:
    assert config.merge(defaults.TREE, defaults.TREE).flat() == Config(defaults.TREE).flat()
    assert set(defaults.TREE.rules) <= set(tiny.flat())
    assert "updates     20" in plan.describe(tiny, world=1)


def test_every_key_takes_or_refuses_every_value(tiny: Config) -> None:
    for key in sorted(tiny.flat()):
        for cfg in hostile_values.taken(tiny, key):
            hostile_values.begins_or_is_refused(prepare, cfg)


@pytest.mark.slow
def test_every_value_that_is_taken_makes_a_plan_or_is_refused(tiny: Config) -> None:
    for key in sorted(tiny.flat()):
        for cfg in hostile_values.taken(tiny, key):
            hostile_values.begins_or_is_refused(lambda cfg: plan.describe(cfg, world=1), cfg)
