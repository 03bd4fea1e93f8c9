"""Our records, mapper, solver and whole runs against Detectron2's, on little pictures made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from wsl_det.core import checkpoint, config
from wsl_det.detector import coco_records, defaults, images, solver, targets, train, transforms
from wsl_det.detector.transforms import Crop, Flip, Geometry, Resize

HEIGHT, WIDTH = 61, 83
SHAPES = [
    [[10.5, 5, 60, 9.25, 40, 50]],
    [[-7, 20, 30, 20, 30, 70, -7, 70]],  # over two borders
    [[2, 2, 12, 2, 12, 12, 2, 12], [20, 2, 30, 2, 30, 12, 20, 12]],  # two parts
    [[50, 10, 80, 10, 80, 40, 70, 40, 70, 20, 60, 20, 60, 40, 50, 40]],  # concave
    [[50, 10, 50.000001, 10, 50, 40]],  # a sliver
]


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, Path]:
    return write_scene(tmp_path, float)


def write_scene(tmp_path: Path, number_type: type) -> tuple[Path, Path]:
    """One noisy picture with polygons, a crowd, and categories with gaps: (json, image folder)."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    annotations = []
    for number, shape in enumerate(SHAPES):
        typed = [[number_type(v) for v in part] for part in shape]
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in typed])
        low, high = points.min(0), points.max(0)
        box = [*low.tolist(), *(high - low).tolist()]
        row = {"id": number + 1, "image_id": 4, "category_id": (7, 3)[number % 2], "bbox": box, "iscrowd": 0}
        annotations.append({**row, "segmentation": typed, "area": 1.0})
    counts = [100, 300, HEIGHT * WIDTH - 400]
    crowd = {"id": 99, "image_id": 4, "category_id": 3, "bbox": [1, 1, 9, 9], "iscrowd": 1, "area": 300}
    annotations.append({**crowd, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}})
    tree = {
        "images": [{"id": 4, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}],
        "annotations": annotations,
    }
    (tmp_path / "gt.json").write_text(json.dumps(tree))
    return tmp_path / "gt.json", tmp_path


def theirs(scene: tuple[Path, Path], steps: list[Any], mask_format: str, name: str) -> dict[str, Any]:
    """What Detectron2's own loader and mapper make of the picture."""
    from detectron2.data import DatasetMapper
    from detectron2.data.datasets import load_coco_json

    (record,) = load_coco_json(str(scene[0]), str(scene[1]), dataset_name=name)
    cropped = any(type(s).__name__ == "CropTransform" for s in steps)
    mapper = DatasetMapper(
        is_train=True,
        augmentations=steps,
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format=mask_format,
        recompute_boxes=cropped,
    )
    return mapper(record)


def ours(scene: tuple[Path, Path], geometry: Geometry, mask_format: str) -> tuple[np.ndarray, Any]:
    (record,) = coco_records.read(*scene, "set").records
    pixels = images.read_image(record.path, "BGR", (record.height, record.width))
    cropped = any(isinstance(s, Crop) for s in geometry.steps)
    return geometry.image(pixels), targets.build(record.objects, geometry, masks=mask_format, tighten=cropped)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize(("size", "flip"), [(96, True), (40, False), (61, True)])
def test_pixels_boxes_and_masks_are_equal(scene, size, flip, mask_format):
    from detectron2.data import transforms as T

    steps = [T.ResizeShortestEdge(size, 120), *([T.RandomFlip(prob=1.0)] if flip else [])]
    want = theirs(scene, steps, mask_format, f"parity_{size}_{flip}_{mask_format}")
    height, width = transforms.shortest_edge(HEIGHT, WIDTH, size, 120)
    moves = (Resize(HEIGHT, WIDTH, height, width), *([Flip(width)] if flip else []))
    image, target = ours(scene, Geometry(moves, height, width), mask_format)
    assert (want["image"].numpy() == image).all()
    instances = want["instances"]
    assert torch.equal(instances.gt_boxes.tensor, target.boxes_xyxy)
    assert torch.equal(instances.gt_classes, target.classes)
    if mask_format == "bitmask":
        assert torch.equal(instances.gt_masks.tensor, target.masks)
        return
    for a, b in zip(instances.gt_masks.polygons, target.masks, strict=True):
        assert [p.tolist() for p in a] == [p.tolist() for p in b]


def test_a_crop_leaves_the_same_boxes_and_pixels_of_masks(scene):
    pytest.importorskip("shapely", reason="Detectron2 cuts polygons with shapely: pip install shapely")
    from detectron2.data import transforms as T

    want = theirs(scene, [T.CropTransform(9, 7, 60, 40)], "polygon", "parity_crop")["instances"]
    _, target = ours(scene, Geometry((Crop(9, 7, 60, 40),), 40, 60), "polygon")
    # shapely and we start a polygon at other corners; boxes and covered pixels do not care.
    torch.testing.assert_close(want.gt_boxes.tensor, target.boxes_xyxy, rtol=0, atol=1e-5)
    assert torch.equal(want.gt_classes, target.classes)
    for a, b in zip(want.gt_masks.polygons, target.masks, strict=True):
        assert np.abs(_raster(a).astype(int) - _raster(b)).sum() <= 2


def _raster(polygons: list[np.ndarray]) -> np.ndarray:
    rles = coco_mask.frPyObjects([p.tolist() for p in polygons], 40, 60)
    return np.asarray(coco_mask.decode([coco_mask.merge(rles)]))[:, :, 0]


def test_the_crowd_is_left_out_by_both(scene):
    want = theirs(scene, [], "polygon", "parity_crowd")["instances"]
    (record,) = coco_records.read(*scene, "set").records
    assert len(record.annotations) == len(SHAPES) + 1
    assert len(record.objects) == len(SHAPES)
    # Both drop the sliver, whose box is narrower than 1e-5 pixels, when targets are made.
    _, target = ours(scene, Geometry((), HEIGHT, WIDTH), "polygon")
    assert len(target.classes) == len(want) == len(SHAPES) - 1


def test_whole_numbers_are_not_truncated_as_in_detectron2(tmp_path):
    """Detectron2 scales an annotation of whole numbers in an integer array, which cuts the fractions off.

    That moves edges by up to a pixel depending on how a json was written, so we do not follow it;
    this test tells when Detectron2 has mended it.
    """
    from detectron2.data import transforms as T

    scene = write_scene(tmp_path, int)
    want = theirs(scene, [T.ResizeShortestEdge(40, 120)], "polygon", "parity_int")["instances"]
    geometry = Geometry((Resize(HEIGHT, WIDTH, 40, 54),), 40, 54)
    _, target = ours(scene, geometry, "polygon")
    assert len(target.boxes_xyxy) == len(want)
    assert torch.equal(want.gt_boxes.tensor, target.boxes_xyxy.trunc())
    assert not torch.equal(want.gt_boxes.tensor, target.boxes_xyxy)


@pytest.mark.parametrize(
    "settings", [{}, {"BIAS_LR_FACTOR": 2.0, "WEIGHT_DECAY_BIAS": 0.0}, {"WEIGHT_DECAY_NORM": 1e-3}]
)
def test_parameter_groups_are_equal(pair, settings):
    from detectron2.config import get_cfg
    from detectron2.solver import build_optimizer

    tree = {"SOLVER": {**settings, "BASE_LR": 0.02}}
    their_cfg = get_cfg()
    for key, value in tree["SOLVER"].items():
        their_cfg.SOLVER[key] = value
    (_, model), _ = pair(RESNETS__NORM="BN")
    found = solver.optimizer(config.merge(defaults.TREE, tree), model)
    want = build_optimizer(their_cfg, model)
    assert _by_parameter(found, model) == _by_parameter(want, model)


def _by_parameter(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, tuple[Any, ...]]:
    names = {id(p): name for name, p in model.named_parameters()}
    keys = ("lr", "weight_decay", "momentum", "nesterov", "dampening")
    return {
        names[id(p)]: tuple(group[k] for k in keys)
        for group in optimizer.param_groups
        for p in group["params"]
    }


@pytest.mark.slow
def test_one_command_gives_the_same_run_under_both_engines(scene, tmp_path):
    """The whole job: losses of every step, final weights and predictions are equal, bit for bit."""
    tree = config.load(Path(__file__).parents[1] / "golden" / "tiny.yaml", defaults.TREE).to_dict()
    registered = {"s": (str(scene[0]), str(scene[1]))}
    runs = {}
    for name in ("embedded", "detectron2"):
        overrides = ["DATASETS.TRAIN", ["s"], "DATASETS.TEST", ["s"], "DATALOADER.NUM_WORKERS", 0, "SEED", 3]
        overrides += [
            "SOLVER.IMS_PER_BATCH",
            1,
            "SOLVER.MAX_ITER",
            4,
            "SOLVER.STEPS",
            [],
            "MODEL.DEVICE",
            "cpu",
        ]
        overrides += ["INPUT.MIN_SIZE_TRAIN", [64, 80], "INPUT.MIN_SIZE_TEST", 64, "MODEL.RESNETS.NORM", "BN"]
        overrides += ["MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.ROI_HEADS.NUM_CLASSES", 2, "MODEL.WEIGHTS", ""]
        cfg = config.merge(tree, {}, [*overrides, "OUTPUT_DIR", str(tmp_path / name)])
        train.run(train.Job(cfg, registered, engine=name))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses = [{k: v for k, v in json.loads(x).items() if "loss" in k} for x in lines]
        weights = checkpoint.load_weights(tmp_path / name / "model_final.pth")["model"]
        runs[name] = losses, weights, (tmp_path / name / "predictions.json").read_text()
    (losses, weights, found), (their_losses, their_weights, want) = runs["embedded"], runs["detectron2"]
    assert losses == their_losses and len(losses) == 4
    assert weights.keys() == their_weights.keys()
    assert all(torch.equal(v, their_weights[k]) for k, v in weights.items())
    assert found == want
