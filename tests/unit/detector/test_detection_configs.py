"""The shipped detection configs: plain Detectron2 keys, heads that say how to run them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wsl_det.core import config
from wsl_det.detector import defaults, settings, solver, trunks, weights
from wsl_det.errors import ConfigError

ROOT = Path(__file__).parents[3] / "configs"
DETECTION = [
    p
    for p in sorted([*ROOT.glob("*.yaml"), *(ROOT / "quick").glob("*.yaml")])
    if not p.name.startswith(("pretrain", "study"))
]
# The one family with keys that stock Detectron2 lacks until register.add_config gives them.
TIMM = [p for p in DETECTION if p.name.startswith("timm")]
RUNS = [p for p in DETECTION if not p.name.startswith(("base", "demo"))]


def name(path):
    return str(path.relative_to(ROOT))


def load(path):
    return config.load(path, defaults.TREE)


def head(path):
    lines = path.read_text().splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


@pytest.mark.parametrize("path", DETECTION, ids=name)
def test_only_keys_of_stock_detectron2(path):
    cfg = config.load(path, {key: value for key, value in defaults.TREE.items() if key != "WSL_DET"})
    usual = config.merge(defaults.TREE, {}).flat()
    ours = {k for k, v in cfg.flat().items() if k.startswith(defaults.NOT_DETECTRON2S) and usual[k] != v}
    assert bool(ours) == (path in TIMM)
    assert "VERSION" in yaml.safe_load((ROOT / "base_mask_rcnn_fpn.yaml").read_text())
    settings.check(load(path))
    solver.learning_rate(load(path))


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_the_head_tells_command_time_and_expectation(path):
    text = head(path)
    assert f"tools/train_net.py --config-file configs/{name(path)}" in text
    assert "# Time: " in text and "# Expected: " in text


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_absent_weights_are_answered_with_the_commands_of_the_head(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = load(path)
    if "scratch" in path.name:
        assert cfg.MODEL.WEIGHTS == "" and cfg.MODEL.BACKBONE.FREEZE_AT == 0
        assert cfg.MODEL.RESNETS.NORM in ("BN", "GN")
        weights.check(cfg, path)
        return
    assert cfg.MODEL.WEIGHTS.startswith("weights/") and cfg.MODEL.WEIGHTS.endswith(".pth")
    with pytest.raises(ConfigError) as error:
        weights.check(cfg, path)
    commands = str(error.value).splitlines()[1:]
    if path in TIMM:
        assert commands[0].strip().startswith(f"wsl-det export_backbone timm:{cfg.MODEL.TIMM.NAME} ")
        return
    first = "wsl-det pretrain_net " if "in1k_32x" in path.name else "wsl-det download_model "
    assert commands[0].strip().startswith(first)
    assert commands[1].strip().endswith(cfg.MODEL.WEIGHTS)


CONVENTIONS = {
    "RGB": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "BGR": ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
}


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_pixels_and_stride_go_together(path):
    cfg = trunks.settled(load(path))
    assert CONVENTIONS[cfg.INPUT.FORMAT] == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is False or path in TIMM


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mask_rcnn_ig", "mask_rcnn_in1k"),
        ("mask_rcnn_ig_1x", "mask_rcnn_in1k_1x"),
        ("mask_rcnn_ig", "mask_rcnn_in1k_fair"),
        ("mask_rcnn_ig", "mask_rcnn_ig_scratch"),
        ("mask_rcnn_ig", "mask_rcnn_ig_32x16d"),
        ("mask_rcnn_ig_32x4d", "mask_rcnn_in1k_32x4d"),
        ("mask_rcnn_ig_32x16d", "mask_rcnn_in1k_32x16d"),
        ("mask_rcnn_ig_lvis", "mask_rcnn_in1k_lvis"),
        ("mask_rcnn_ig_lvis", "mask_rcnn_ig_lvis_scratch"),
        ("faster_rcnn_ig", "faster_rcnn_in1k"),
        ("quick/mask_rcnn_R_50_facades", "quick/mask_rcnn_R_50_facades_scratch"),
        ("quick/mask_rcnn_R_50_coco", "quick/mask_rcnn_R_50_coco_scratch"),
    ],
)
def test_twins_differ_only_in_the_backbone_and_its_start(one, other):
    """docs/method.md, like for like: only these keys may differ between the sides of a gain report."""
    a, b = (load(ROOT / f"{x}.yaml").flat() for x in (one, other))
    free = (
        "MODEL.WEIGHTS",
        "INPUT.FORMAT",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RESNETS.",
        "MODEL.BACKBONE.FREEZE_AT",
    )
    assert [k for k in a if a[k] != b[k] and not k.startswith(free)] == []
    assert a != b


def test_the_main_config_is_the_resnext_of_the_paper():
    cfg = load(ROOT / "mask_rcnn_ig.yaml")
    resnets = cfg.MODEL.RESNETS
    assert (resnets.DEPTH, resnets.NUM_GROUPS, resnets.WIDTH_PER_GROUP) == (101, 32, 8)
    assert cfg.MODEL.MASK_ON and cfg.INPUT.FORMAT == "RGB" and resnets.NORM == "FrozenBN"
