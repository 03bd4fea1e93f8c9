"""Shipped configs load, and say what their first lines promise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain.stream import sampling
from pretrain.training import defaults, job, model, solver
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from wsl_det.core import config
from wsl_det.errors import DataError

ROOT = Path(__file__).parents[4]
SHIPPED = sorted([*ROOT.glob("configs/pretrain/*.yaml"), *ROOT.glob("configs/quick/pretrain_*.yaml")])
# Processes that a config's first lines name, and the images each then takes.
NAMED = {
    **{f"resnext101_32x{c}d": (336, 24) for c in (4, 8, 16, 32, 48)},
    "resnext101_32x8d_8gpu": (8, 96),
    "resnext50_32x4d_1gpu": (1, 192),
    "resnet50_1gpu": (1, 192),
    "pretrain_tiny": (2, 24),
}


def load(path: Path, *opts: object) -> config.Config:
    return config.load(path, defaults.TREE, list(opts))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configs_are_whole(path: Path) -> None:
    cfg = load(path)
    assert job.make_schedule(cfg).updates > 0
    assert job.make_arch(cfg).name
    assert sampling.check_world_size(cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.BN_GROUP, 1) >= 1
    # Nothing but these two is left to the command line.
    assert cfg.DATA.SHARDS == "" and cfg.OUTPUT_DIR == ""
    head = path.read_text(encoding="utf-8").splitlines()[:6]
    if not path.stem.startswith("base_"):
        assert head[0].startswith("# ") and any("pretrain_net.py" in line for line in head), head
        assert any(word in line for line in head for word in ("measured", "second", "minute")), head


@pytest.mark.parametrize("name", NAMED)
def test_the_processes_a_config_names_fit_it(name: str) -> None:
    cfg = load(next(p for p in SHIPPED if p.stem == name))
    world, images = NAMED[name]
    groups = sampling.check_world_size(cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.BN_GROUP, world)
    assert groups * cfg.MODEL.BN_GROUP == images


def test_the_papers_run() -> None:
    cfg = load(ROOT / "configs/pretrain/resnext101_32x16d.yaml")
    schedule, arch = job.make_schedule(cfg), job.make_arch(cfg)
    assert schedule.peak == pytest.approx(3.15)
    assert (arch.name, arch.blocks, arch.res2_channels) == ("resnext101_32x16d", (3, 4, 23, 3), 256)
    assert (schedule.batch, cfg.MODEL.BN_GROUP, cfg.DATA.RESAMPLE) == (8064, 24, "sqrt")


def test_keys_that_are_free_on_resume_exist() -> None:
    assert set(config.Config(defaults.TREE).flat()) >= defaults.FREE_ON_RESUME


def test_every_key_reaches_its_builder() -> None:
    opts = ["SOLVER.BASE_LR", 0.2, "SOLVER.IMS_PER_BATCH", 48, "SOLVER.TOTAL_IMAGES", 480]
    opts += ["SOLVER.REFERENCE_BATCH", 24, "SOLVER.WARMUP_LR", 0.3, "SOLVER.WARMUP_UPDATES", 7]
    opts += ["SOLVER.SCHEDULE", "cosine", "SOLVER.NUM_DROPS", 2, "SOLVER.DROP_FACTOR", 0.1]
    opts += ["SOLVER.COSINE_END", 0.05, "MODEL.BLOCKS", "[1,2,1,1]", "MODEL.GROUPS", 4]
    opts += ["MODEL.WIDTH_PER_GROUP", 8, "MODEL.RES2_CHANNELS", 64, "MODEL.DEPTH", 17]
    cfg = config.merge(defaults.TREE, {}, opts)
    want = solver.Schedule(0.2, 48, 480, 24, 0.3, 7, "cosine", 2, 0.1, 0.05)
    assert job.make_schedule(cfg) == want
    assert job.make_arch(cfg) == model.Arch(17, (1, 2, 1, 1), 4, 8, 64)


def test_one_class_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Vocabulary("in1k", (VocabularyClass(0, "cat", ("n02121620",), ("cat",), 3),), {})
    monkeypatch.setattr(job.index, "open_index", lambda _: SimpleNamespace(vocabulary=alone))
    cfg = load(ROOT / "configs/quick/pretrain_tiny.yaml", "DATA.SHARDS", "shards", "OUTPUT_DIR", "run")
    job.check(cfg)  # what is wrong with the launch is told first
    with pytest.raises(DataError, match=r"shards has one class, 'cat': its loss is 0.*--min-count"):
        job.prepare(cfg)
