"""An exported backbone in stock Detectron2: every tensor set by its own checkpointer, equal features."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import scenes
import torch

from wsl_det.backbone import artifact, convert, names, pickles, sources
from wsl_det.backbone.trunk import ResNet


def exported(tmp_path: Path) -> artifact.Artifact:
    from torchvision.models import resnet50

    return scenes.export_backbone(resnet50, tmp_path)


def stock(weights: Path, tmp_path: Path, **changes: Any) -> Any:
    """Detectron2's own R50-FPN Mask R-CNN with MODEL.WEIGHTS set as a user would, and loaded."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    root = Path(__file__).parents[2]
    cfg = get_cfg()
    cfg.merge_from_file(str(root / "configs" / "mask_rcnn_ig.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.NUM_GROUPS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 50, 1, 64
    cfg.MODEL.RESNETS.NORM = changes.get("norm", "FrozenBN")
    model = build_model(cfg)
    DetectionCheckpointer(model, save_dir=str(tmp_path)).load(str(weights))
    return model.eval()


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_stock_detectron2_sets_every_trunk_tensor(tmp_path, norm, caplog):
    made = exported(tmp_path)
    with caplog.at_level(logging.WARNING):
        model = stock(made.path, tmp_path, norm=norm)
    state = model.backbone.bottom_up.state_dict()
    trunk = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    assert trunk.keys() == made.weights.keys()
    assert all(torch.equal(v, made.weights[k]) for k, v in trunk.items())
    lost = "\n".join(r.getMessage() for r in caplog.records if "not found" in r.getMessage())
    assert "fpn_lateral2" in lost  # the warning is heard at all
    # Unfrozen batch norms count batches; nobody's artifact holds that.
    assert all("num_batches_tracked" in line for line in lost.splitlines() if "bottom_up" in line)


@pytest.mark.parametrize("convention", ["torchvision", "msra"])
def test_stock_detectron2_reads_our_pickle(tmp_path, convention):
    """``--to detectron2``: equal tensors by its own reader, by our restricted one, and in a detector."""
    made = exported(tmp_path)
    source = sources.read(made.path, convention=convention)
    pickled, certified = convert.convert(source, tmp_path / "trunk.pkl", "detectron2")
    state = stock(pickled.path, tmp_path).backbone.bottom_up.state_dict()
    assert state.keys() == made.weights.keys()
    assert all(torch.equal(v, made.weights[k]) for k, v in state.items())
    back = sources.read(pickled.path)
    assert all(torch.equal(v, made.weights[k]) for k, v in back.weights.items())
    assert back.convention.stride_in_1x1 is (convention == "msra")
    assert certified["config"]["MODEL.WEIGHTS"] == str(pickled.path)
    again = artifact.from_payload(pickles.read(pickled.path), pickled.path)
    assert all(torch.equal(v, made.weights[k]) for k, v in again.weights.items())


def test_without_the_flag_nothing_matches(tmp_path):
    made = exported(tmp_path)
    payload = torch.load(made.path, weights_only=True)
    torch.save({**payload, "matching_heuristics": False}, tmp_path / "flagless.pth")
    state = stock(tmp_path / "flagless.pth", tmp_path).backbone.bottom_up.state_dict()
    assert not any(
        torch.equal(v, made.weights[k]) for k, v in state.items() if k.endswith("weight") and v.ndim == 4
    )


@torch.no_grad()
def test_trunk_features_equal_detectron2s_exactly(tmp_path):
    made = exported(tmp_path)
    theirs = stock(made.path, tmp_path).backbone.bottom_up
    ours = ResNet(blocks=(3, 4, 6, 3))
    ours.load_state_dict(made.weights)
    images = torch.randn(1, 3, 65, 96, generator=torch.Generator().manual_seed(0))
    found, expected = ours.eval()(images), theirs(images)
    assert list(found) == list(expected)
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert set(names.to_torchvision(k) for k in made.weights)  # every name has its counterpart


def test_freezing_equals_detectron2s():
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    for norm in ("BN", "FrozenBN", "GN"):
        for at in (0, 1, 2, 5):
            cfg = get_cfg()
            cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT = norm, at
            cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
            with torch.device("meta"):
                theirs = build_resnet_backbone(cfg, ShapeSpec(channels=3))
                ours = ResNet(blocks=(3, 4, 6, 3), norm=norm, stride_in_1x1=True).freeze(at)
            assert list(ours.state_dict()) == list(theirs.state_dict())
            grads = [{n: p.requires_grad for n, p in m.named_parameters()} for m in (ours, theirs)]
            assert list(grads[0].items()) == list(grads[1].items())
            kinds = [
                {n: type(m).__name__ for n, m in t.named_modules() if n.endswith("norm")}
                for t in (ours, theirs)
            ]
            assert kinds[0] == kinds[1]
