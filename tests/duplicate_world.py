"""A tiny trunk, shards of generated photos and test sets with copies in them, for the duplicate tests."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import shard_folders
import torch

from wsl_det.backbone import artifact, batch_norm
from wsl_det.backbone.arch import Architecture

NAMES = ("crane", "daisy", "pizza")
TRAIN = 24


def photo(seed: int, size: tuple[int, int] = (72, 88)) -> bytes:
    """A JPEG of coloured shapes, different for every seed."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 255, (3, 4, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(9):
        centre = tuple(int(v) for v in rng.integers(0, 80, 2))
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        cv2.circle(image, centre, int(rng.integers(4, 18)), colour, -1)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def backbone(path: Path, seed: int = 0) -> Path:
    """A random trunk as an artifact: random features tell photos apart well enough."""
    arch = Architecture(
        blocks=(1, 1, 1, 1), block="basic", groups=1, width_per_group=64, stem_channels=16, res2_channels=16
    )
    trunk = arch.build(norm="FrozenBN", rng=torch.Generator().manual_seed(seed))
    weights = trunk.state_dict()
    for name in weights:
        if name.endswith("running_mean"):
            weights[name] = weights[name] + 0.01
    meta = {
        "kind": "backbone",
        "schema": artifact.SCHEMA,
        "arch": arch.to_dict(),
        "pixel_mean": [123.0, 116.0, 103.0],
        "pixel_std": [58.0, 57.0, 57.0],
        "channel_order": "RGB",
        "stride_in_1x1": False,
        "bn": batch_norm.judge(weights, "the test"),
    }
    artifact.write(path, weights, meta)
    return path


def shards(work: Path, number: int = TRAIN) -> Path:
    """A shard folder of ``number`` photos with three tags."""
    (work / "images").mkdir()
    lines = []
    for i in range(number):
        (work / f"images/{i}.jpg").write_bytes(photo(i))
        lines.append({"id": f"p{i}", "image": f"{i}.jpg", "caption": f"#{NAMES[i % 3]}"})
    shard_folders.write_lines(work / "posts.jsonl", lines)
    return shard_folders.build(work, shard_folders.vocabulary(work / "vocab.json", NAMES))


def coco(work: Path, copies: dict[int, int], others: int = 4) -> Path:
    """annotations/instances_val.json and val/: image id 10 + i is a copy of training photo ``copies[i]``."""
    (work / "val").mkdir(parents=True)
    (work / "annotations").mkdir()
    rows = []
    for i in range(len(copies) + others):
        name = f"<b>{i} & co.jpg" if i == 0 else f"{i}.jpg"
        data = photo(copies[i]) if i in copies else photo(1000 + i)
        (work / "val" / name).write_bytes(data)
        rows.append({"id": 10 + i, "file_name": name, "height": 72, "width": 88})
    annotations = [
        {"id": i + 1, "image_id": row["id"], "category_id": 1, "bbox": [10, 10, 30, 30], "area": 900}
        for i, row in enumerate(rows)
    ]
    tree = {"images": rows, "categories": [{"id": 1, "name": "thing"}], "annotations": annotations}
    path = work / "annotations" / "instances_val.json"
    path.write_text(json.dumps(tree))
    return path


def judge(folder: Path, given: dict[int, str], path: Path, reader: str = "ann") -> Path:
    """The verdicts file that the page would save for a search's folder."""
    content = json.loads((folder / "candidates.json").read_text())
    fields = ("pair", "set", "image", "image_id", "train", "train_row", "score")
    rows = [{**{f: content["pairs"][i][f] for f in fields}, "verdict": v} for i, v in sorted(given.items())]
    keys = ("name", "kind", "sha256", "images")
    value = {
        "kind": "duplicate verdicts",
        "schema": 1,
        "command": "review.html",
        "versions": content["versions"],
        "made_from": {"candidates": {"sha256": content["sha256"]}, "train": content["made_from"]["train"]},
        "sets": [{key: one[key] for key in keys} for one in content["sets"]],
        "pairs": len(content["pairs"]),
        "reader": reader,
        "verdicts": rows,
    }
    path.write_text(json.dumps(value))
    return path
