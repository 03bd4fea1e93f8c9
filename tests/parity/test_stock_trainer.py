"""An exported backbone and a shipped config in stock Detectron2's own trainer, with no code of ours in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scenes
import torch
import train_runs

from wsl_det.core import checkpoint, config
from wsl_det.detector import defaults, weights
from wsl_det.detector.engine import select_engine

ROOT = Path(__file__).parents[2]
CONFIGS = [
    path
    for path in sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs" / "quick").glob("*.yaml")])
    if not path.name.startswith(("pretrain", "study"))
]
# mask_rcnn_ig.yaml in small: narrow groups, narrow heads, few proposals, little pictures.
SMALLER: list[Any] = [
    *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16, "MODEL.ROI_HEADS.NUM_CLASSES", 2),
    *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MAX_SIZE_TRAIN", 96, "DATALOADER.NUM_WORKERS", 0),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "SOLVER.WARMUP_ITERS", 0),
    *("SOLVER.BASE_LR", 0.001, "DATASETS.TRAIN", ("stock_train",), "DATASETS.TEST", ()),
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_stock_get_cfg_reads_every_detection_config_as_we_do(path: Path) -> None:
    from detectron2.config import get_cfg

    theirs = get_cfg()
    if path.name.startswith("timm"):
        from wsl_det.detector.d2 import register

        register.add_config(theirs)
    theirs.merge_from_file(str(path))
    ours = config.load(path, defaults.TREE).flat()
    for key, value in _flat(theirs).items():
        told = "auto" if key == "MODEL.TIMM.FREEZE_NORM" and value is None else value
        assert _plain(ours[key]) == _plain(told), key


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """(OUTPUT_DIR, artifact) after two steps of ``DefaultTrainer`` with configs/mask_rcnn_ig.yaml."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.engine import DefaultTrainer
    from torchvision.models.resnet import Bottleneck, ResNet

    root = tmp_path_factory.mktemp("stock")
    made = scenes.export_backbone(
        lambda: ResNet(Bottleneck, [3, 4, 23, 3], groups=4, width_per_group=4), root
    )
    path = train_runs.settings().write_scenes(root / "train", 4)
    register_coco_instances("stock_train", {}, str(path), str(path.parent / "images"))
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "mask_rcnn_ig.yaml"))
    cfg.merge_from_list([*SMALLER, "MODEL.WEIGHTS", str(made.path), "OUTPUT_DIR", str(root / "run")])
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    yield root / "run", made
    DatasetCatalog.remove("stock_train")
    MetadataCatalog.remove("stock_train")


def test_default_trainer_trains_from_an_exported_backbone(trained: tuple[Path, Any]) -> None:
    folder, made = trained
    assert made.meta["arch"]["blocks"] == [3, 4, 23, 3]
    state = torch.load(folder / "model_final.pth", weights_only=False)
    assert state["iteration"] == 1
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert all(torch.isfinite(torch.tensor(line["total_loss"])) for line in lines)
    trunk = {k: v for k, v in state["model"].items() if k.startswith(weights.TRUNK)}
    assert {k.removeprefix(weights.TRUNK) for k in trunk} == made.weights.keys()
    moved = {k for k, v in trunk.items() if not torch.equal(v, made.weights[k.removeprefix(weights.TRUNK)])}
    # FREEZE_AT 2 and frozen statistics: the convolutions of res3 to res5 learn, nothing else of the trunk.
    learns = {k for k, v in trunk.items() if v.ndim == 4 and k.split(".")[2] in ("res3", "res4", "res5")}
    assert moved == learns


def test_what_stock_detectron2_trained_fits_our_engine(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = trained
    # Its checkpoint also holds optimizer and scheduler; the model is what a user would publish.
    model = torch.load(folder / "model_final.pth", weights_only=False)["model"]
    torch.save({"model": model}, tmp_path / "published.pth")
    cfg = config.load(ROOT / "configs" / "mask_rcnn_ig.yaml", defaults.TREE, [_listed(v) for v in SMALLER])
    ours = select_engine("embedded")(cfg).build()
    weights.detector(ours, str(tmp_path / "published.pth"))
    assert all(torch.equal(v, model[k]) for k, v in ours.state_dict().items())
    assert ours.state_dict().keys() == model.keys()
    assert checkpoint.load_weights(folder / "model_final.pth")["iteration"] == 1


def test_every_tensor_of_the_full_trunk_finds_its_place() -> None:
    """Names and shapes of ResNeXt-101 32x8d through Detectron2's own matching; no memory is spent."""
    from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
    from detectron2.config import get_cfg
    from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY
    from torchvision.models import resnext101_32x8d

    from wsl_det.backbone import names

    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "mask_rcnn_ig.yaml"))
    with torch.device("meta"):
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
        source = resnext101_32x8d().state_dict()
    kept = {k: v for k, v in source.items() if not k.startswith("fc.") and "num_batches" not in k}
    exported = {names.to_detectron2(k): v for k, v in kept.items()}
    matched = align_and_update_state_dicts(model.state_dict(), exported, c2_conversion=False)
    assert len(model.state_dict()) == 562
    assert matched.keys() == {k for k in model.state_dict() if k.startswith(weights.TRUNK)}
    assert all(matched[weights.TRUNK + k] is v for k, v in exported.items())


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
