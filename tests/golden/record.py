"""Record golden files from a real Detectron2 through its public API.

    <python of an environment with Detectron2> -m tests.golden.record [case ...]

Run from the root of the repository. Every file says which Detectron2 (version and commit, the latter
from $DETECTRON2_COMMIT because an installed copy does not know it), torch and torchvision made it, with
which seed and command. Images, weights and seeds come from ``tests/parity/scenes.py``; nothing else
of ours takes part.
"""

from __future__ import annotations

import itertools
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from tests import lvis_files
from tests.parity import scenes
from wsl_det.core import files
from wsl_det.detector.types import Example

HERE = Path(__file__).parent
SEED, STEPS = 11, 20
# Few detections in the file, since each holds a mask.
MAX_DETECTIONS = 8


def origin(case: str, seed: int | None = None) -> dict[str, Any]:
    """What made a golden file."""
    import detectron2
    import torchvision

    return {
        "detectron2": detectron2.__version__,
        "commit": os.environ.get("DETECTRON2_COMMIT", "unknown"),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": "cpu, one thread",
        "seed": seed,
        "command": f"DETECTRON2_COMMIT=... python -m tests.golden.record {case}",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def record_defaults() -> None:
    """Every key and default of ``get_cfg()``."""
    from detectron2.config import get_cfg

    golden = {"origin": origin("defaults"), "defaults": _plain(get_cfg())}
    files.write_json(HERE / "d2_defaults.json", golden)


def record_keys() -> None:
    """Keys and shapes of Mask R-CNN X-101-32x8d-FPN, from Detectron2's own base configuration."""
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml")
    cfg.MODEL.DEVICE = "cpu"
    keys = {key: list(value.shape) for key, value in build_model(cfg).state_dict().items()}
    config = {"MODEL": _plain(cfg.MODEL)}
    files.write_json(
        HERE / "mask_rcnn_x101_keys.json", {"origin": origin("keys"), "config": config, "keys": keys}
    )


def record_model() -> None:
    """Stages, losses, gradients, training and detections of the tiny Mask R-CNN."""
    torch.set_num_threads(1)
    examples = scenes.batch(0)
    arrays: dict[str, np.ndarray] = {}
    report: dict[str, Any] = {"origin": origin("model", SEED), "batch": 0, "weights": 3}
    _record_stages(examples, arrays)
    _record_detections(examples, arrays, report)
    _record_training(report)
    files.write_json(HERE / "tiny_model.json", report)
    with files.atomic_path(HERE / "tiny_model.npz") as path, open(path, "wb") as out:
        np.savez_compressed(out, **arrays)


def _model(**overrides: Any) -> nn.Module:
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(str(scenes.TINY))
    cfg.TEST.DETECTIONS_PER_IMAGE = MAX_DETECTIONS
    for key, value in overrides.items():
        cfg.merge_from_list([f"MODEL.{key.replace('__', '.')}", value])
    return scenes.fill(build_model(cfg), seed=3)


def _inputs(examples: Sequence[Example]) -> list[dict[str, Any]]:
    from detectron2.structures import Boxes, Instances, PolygonMasks

    inputs = []
    for example in examples:
        assert example.target is not None
        instances = Instances((example.image.shape[1], example.image.shape[2]))
        instances.gt_boxes = Boxes(example.target.boxes_xyxy)
        instances.gt_classes = example.target.classes
        instances.gt_masks = PolygonMasks(example.target.masks)
        inputs.append(
            {"image": example.image, "height": example.height, "width": example.width, "instances": instances}
        )
    return inputs


def _record_stages(examples: Sequence[Example], arrays: dict[str, np.ndarray]) -> None:
    from detectron2.utils.events import EventStorage

    model, inputs = _model().train(), _inputs(examples)
    gt = [x["instances"] for x in inputs]
    with EventStorage(0), torch.no_grad():
        torch.manual_seed(SEED)
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        rpn = model.proposal_generator
        maps = [features[name] for name in rpn.in_features]
        anchors = rpn.anchor_generator(maps)
        logits, deltas = rpn.rpn_head(maps)
        flat_logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
        flat_deltas = [
            x.view(x.shape[0], -1, 4, *x.shape[-2:]).permute(0, 3, 4, 1, 2).flatten(1, -2) for x in deltas
        ]
        labels, _ = rpn.label_and_sample_anchors(anchors, gt)
        proposals = rpn.predict_proposals(anchors, flat_logits, flat_deltas, images.image_sizes)
        sampled = model.roi_heads.label_and_sample_proposals(proposals, gt)
    for name, value in features.items():
        # One image and every fourth channel is enough to see a wrong stride, order or norm.
        arrays[f"feature_{name}"] = value[0, ::4].numpy()
    for level, (anchor, score, delta) in enumerate(zip(anchors, flat_logits, flat_deltas, strict=True)):
        arrays[f"anchors_{level}"] = anchor.tensor.numpy()
        arrays[f"logits_{level}"], arrays[f"deltas_{level}"] = score.numpy(), delta.numpy()
    for i, found in enumerate(proposals):
        arrays[f"anchor_labels_{i}"] = labels[i].numpy()
        arrays[f"proposals_{i}"] = found.proposal_boxes.tensor.numpy()
        arrays[f"proposal_logits_{i}"] = found.objectness_logits.numpy()
        arrays[f"sample_boxes_{i}"] = sampled[i].proposal_boxes.tensor.numpy()
        arrays[f"sample_classes_{i}"] = sampled[i].gt_classes.numpy()


def _record_detections(
    examples: Sequence[Example], arrays: dict[str, np.ndarray], report: dict[str, Any]
) -> None:
    model, inputs = _model().eval(), _inputs(examples)
    with torch.no_grad():
        raw = model.inference(inputs, do_postprocess=False)
        final = model.inference(inputs)
    report["masks"] = []
    for i, (small, output) in enumerate(zip(raw, final, strict=True)):
        found = output["instances"]
        arrays[f"mask_squares_{i}"] = small.pred_masks[:, 0].numpy()
        arrays[f"boxes_{i}"] = found.pred_boxes.tensor.numpy()
        arrays[f"scores_{i}"] = found.scores.numpy()
        arrays[f"classes_{i}"] = found.pred_classes.numpy()
        report["masks"].append([_runs(mask) for mask in found.pred_masks])


def _runs(mask: Tensor) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def _trains(parameter: Tensor) -> bool:
    return parameter.requires_grad


def _record_training(report: dict[str, Any]) -> None:
    from detectron2.utils.events import EventStorage

    model = _model(**scenes.SMOOTH).train()
    optimizer = torch.optim.SGD(
        filter(_trains, model.parameters()), lr=0.002, momentum=0.9, weight_decay=1e-4
    )
    report["trajectory"] = []
    for step in range(STEPS):
        with EventStorage(0):
            torch.manual_seed(SEED + step)
            losses = model(_inputs(scenes.batch(step % 3, shapes=scenes.SMALL)))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 0:
            report["gradients"] = {
                key: [value.grad.norm().item(), value.grad.sum().item(), *value.grad.flatten()[:3].tolist()]
                for key, value in model.named_parameters()
                if _trains(value)
            }
        optimizer.step()
        report["trajectory"].append({key: value.item() for key, value in losses.items()})


def record_lvis() -> None:
    """What Detectron2 reads of a little LVIS file, how often it draws its images, and two epochs of them."""
    from detectron2.data.build import filter_images_with_only_crowd_annotations
    from detectron2.data.datasets.lvis import load_lvis_json
    from detectron2.data.samplers import RepeatFactorTrainingSampler

    with tempfile.TemporaryDirectory() as folder:
        root = lvis_files.write(Path(folder))
        read = load_lvis_json(str(root / "lvis/lvis_v1_train.json"), f"{root}/coco/")
        dicts = filter_images_with_only_crowd_annotations(read)
        images = [_lvis_image(one, root) for one in dicts]
    report: dict[str, Any] = {"origin": origin("lvis", SEED), "images": images, "repeats": {}, "epochs": {}}
    of_classes = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    for threshold in lvis_files.THRESHOLDS:
        factors = of_classes(dicts, threshold)
        sampler = RepeatFactorTrainingSampler(factors, seed=SEED)
        report["repeats"][str(threshold)] = factors.tolist()
        report["epochs"][str(threshold)] = list(itertools.islice(sampler, int(2.5 * factors.sum())))
    files.write_json(HERE / "lvis_sampler.json", report)


def _lvis_image(one: dict[str, Any], root: Path) -> dict[str, Any]:
    objects = [(o["category_id"], *o["bbox"]) for o in one["annotations"]]
    kept = {key: one[key] for key in ("image_id", "height", "width")}
    return {**kept, "file": str(Path(one["file_name"]).relative_to(root)), "objects": objects}


CASES = {"defaults": record_defaults, "keys": record_keys, "model": record_model, "lvis": record_lvis}


def main(names: list[str]) -> int:
    """Record the named cases, or all."""
    for name in names or CASES:
        CASES[name]()
        print(f"recorded {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
