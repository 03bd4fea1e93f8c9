"""Trunks of timm's in stock Detectron2: its trainer, its checkpointer, its own simple pyramid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scenes
import torch
import train_runs

from wsl_det.backbone import export, timm_source
from wsl_det.backbone.pyramids import SimplePyramid
from wsl_det.backbone.timm_trunk import TimmTrunk
from wsl_det.core import checkpoint
from wsl_det.detector import weights
from wsl_det.errors import ConfigError

ROOT = Path(__file__).parents[2]
SMALLER: list[Any] = [
    *("MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8, "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 30, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 2, "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MAX_SIZE_TRAIN", 96),
    *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", ()),
    *("SOLVER.WARMUP_ITERS", 0, "DATASETS.TRAIN", ("timm_train",), "DATASETS.TEST", ()),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances

    folder = tmp_path_factory.mktemp("timm")
    path = train_runs.settings().write_scenes(folder / "train", 4)
    register_coco_instances("timm_train", {}, str(path), str(path.parent / "images"))
    yield folder
    DatasetCatalog.remove("timm_train")
    MetadataCatalog.remove("timm_train")


@pytest.fixture
def stock(root: Path, tmp_path: Path) -> Callable[..., Any]:
    """A stock configuration of configs/timm_mask_rcnn.yaml in small, from an artifact of ``name``."""
    from detectron2.config import get_cfg

    from wsl_det.detector.d2 import register

    def make(name: str, *pairs: Any) -> Any:
        made, _ = export.export(timm_source.untrained(name, 0), tmp_path / f"{name}.pth")
        cfg = get_cfg()
        register.add_config(cfg)
        cfg.merge_from_file(str(ROOT / "configs" / "timm_mask_rcnn.yaml"))
        own = ["MODEL.TIMM.NAME", name, "MODEL.WEIGHTS", str(made.path), "OUTPUT_DIR", str(tmp_path / "run")]
        cfg.merge_from_list([*SMALLER, *own, *pairs])
        register.settle(cfg)
        Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        return cfg

    return make


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_a_stock_trainer_trains_from_an_artifact(stock: Callable[..., Any], name: str) -> None:
    from detectron2.engine import DefaultTrainer

    from wsl_det.detector.d2 import register

    class Trainer(DefaultTrainer):  # type: ignore[misc]
        build_optimizer = staticmethod(register.build_optimizer)

    cfg = stock(name, "SOLVER.CLIP_GRADIENTS.ENABLED", True)
    trainer = Trainer(cfg)
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    trainer.resume_or_load(resume=False)
    start = checkpoint.load_weights(cfg.MODEL.WEIGHTS)["model"]
    trunk = f"{weights.TRUNK}model."
    own = trainer.model.state_dict()
    assert all(torch.equal(own[trunk + k], v) for k, v in start.items())
    trainer.train()
    state = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=False)["model"]
    assert any(not torch.equal(state[trunk + k], v) for k, v in start.items())
    assert {k for k, v in state.items() if not v.isfinite().all()} == set()


def test_a_trainer_that_builds_sgd_all_the_same_is_refused_at_its_first_step(
    stock: Callable[..., Any],
) -> None:
    from detectron2.engine import DefaultTrainer

    trainer = DefaultTrainer(stock("test_vit"))
    with pytest.raises(ConfigError, match=r"OPTIMIZER is ADAMW and .*build_optimizer"):
        trainer.train()
    plain = DefaultTrainer(stock("test_vit", "SOLVER.OPTIMIZER", "SGD", "SOLVER.LAYER_DECAY", 1.0))
    plain.train()


def test_an_artifact_that_does_not_fit_is_refused(stock: Callable[..., Any]) -> None:
    from detectron2.modeling import build_model

    for pairs in (
        ("MODEL.PIXEL_STD", [1.0, 2.0, 1.0]),
        ("MODEL.TIMM.NAME", "test_resnet"),
        ("MODEL.TIMM.FREEZE_NORM", True),
    ):
        with pytest.raises(ConfigError, match="and the config disagree"):
            build_model(stock("test_vit", *pairs))


def test_the_simple_pyramid_is_detectron2s() -> None:
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import Backbone
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.backbone.vit import SimpleFeaturePyramid

    trunk = TimmTrunk("test_vit")

    class Net(Backbone):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return trunk(x)

        def output_shape(self) -> dict[str, ShapeSpec]:
            return {k: ShapeSpec(channels=trunk.channels[k], stride=trunk.strides[k]) for k in trunk.strides}

    theirs = SimpleFeaturePyramid(Net(), "res4", 8, (4.0, 2.0, 1.0, 0.5), LastLevelMaxPool(), "LN").eval()
    ours = scenes.fill(SimplePyramid(trunk, channels=8), 5).eval()
    own = {k: v for k, v in ours.state_dict().items() if k.startswith("simfp")}
    result = theirs.load_state_dict(own, strict=False)
    assert not result.unexpected_keys and all(k.startswith("net.") for k in result.missing_keys)
    x = torch.rand(2, 3, 64, 96)
    found, wanted = ours(x), theirs(x)
    assert list(found) == list(wanted)
    # Their layer norm is written out, ours is torch's.
    assert all((found[k] - wanted[k]).abs().max() <= 1e-5 * wanted[k].abs().max() for k in wanted)
