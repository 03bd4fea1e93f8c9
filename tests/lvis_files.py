"""A little LVIS v1 data set on disk, as Detectron2's names want it below ``$DETECTRON2_DATASETS``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 12
SYNSETS = ("dog.n.01", "cat.n.01", "horse.n.01")
THRESHOLDS = (0.2, 0.5)
"""Of repeat factors: most of them are no whole numbers."""

SETTINGS: list[Any] = [
    *("DATASETS.TRAIN", ["lvis_v1_train"], "DATASETS.TEST", ["lvis_v1_val"], "SOLVER.MAX_ITER", 4),
    *("MODEL.ROI_HEADS.NUM_CLASSES", CLASSES, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1e-4),
    *("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD", 0.5),
    *("TEST.DETECTIONS_PER_IMAGE", 300, "MODEL.RPN.POST_NMS_TOPK_TEST", 50),
]
"""The keys of configs/mask_rcnn_ig_lvis.yaml that make it LVIS, for so few classes and images."""


def write(root: Path, images: int = 24, seed: int = 0) -> Path:
    """``lvis/lvis_v1_{train,val}.json`` and their photos below ``coco/``; returns ``root``.

    Class k is on about every (k + 1)th image of train, the last on one alone. Images have no file_name and
    objects no iscrowd; every fourth train image has no object; one photo of val lies in train2017.
    """
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        tree: dict[str, Any] = {"images": [], "categories": _categories(), "annotations": []}
        for i in range(images if split == "train" else max(2, images // 8)):
            folder = "train2017" if split == "train" or i == 0 else "val2017"
            shown = [k for k in range(CLASSES - 1) if rng.random() < 1 / (k + 1)]
            shown = [] if i % 4 == 3 and split == "train" else shown
            _add(tree, shown + [CLASSES - 1] * (i == 0), root / "coco" / folder, split, rng)
        path = root / "lvis" / f"lvis_v1_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tree))
    return root


def _categories() -> list[dict[str, Any]]:
    frequency = ["f", "c", "r"]
    return [
        {"id": k + 1, "name": f"kind_{k}", "synset": SYNSETS[k % 3], "frequency": frequency[min(2, k // 4)]}
        for k in range(CLASSES)
    ]


def _add(tree: dict[str, Any], shown: list[int], folder: Path, split: str, rng: np.random.Generator) -> None:
    image_id = 100 + 7 * len(tree["images"]) + 1000 * (split == "val")
    height, width = (48, 64) if image_id % 2 else (64, 48)
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    for k in shown:
        x, y, w, h = (float(v) for v in rng.uniform((1, 1, 12, 12), (20, 20, 24, 24)))
        pixels[int(y) : int(y + h), int(x) : int(x + w)] = (20 * k, 200 - 15 * k, 40)
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
        row = {"id": len(tree["annotations"]) + 1, "image_id": image_id, "category_id": k + 1, "area": w * h}
        tree["annotations"].append({**row, "bbox": [x, y, w, h], "segmentation": [outline]})
    absent = sorted(set(range(CLASSES)) - set(shown))
    tree["images"].append(
        {"id": image_id, "height": height, "width": width, "not_exhaustive_category_ids": []}
        | {"neg_category_ids": [k + 1 for k in absent[::2]]}
        | {"coco_url": f"http://images.cocodataset.org/{folder.name}/{image_id:012}.png"}
    )
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{image_id:012}.png")
