"""The common yardstick of the control arm: what frozen features know of the true class of held-out photos.

Photos are gratings; a class is an orientation, and phase, colours, frequency and noise say nothing of it. A
hashtag names the class of its photo in SIGNAL of all posts, any class in the others. Labels hold all of the
signal (synsets), a known part (hashtags) or none (shuffled), and features must come out in that order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shard_folders
import torch
from test_pretrain import _main

from pretrain.shards import index
from pretrain.stream import selection
from pretrain.transfer import backbone
from wsl_det.backbone import sources

NAMES = ("ant", "bear", "crane", "dog", "eel", "fox")
SYNSETS = ("n02219486", "n02132136", "n02012849", "n02084071", "n01439121", "n02118333")
PHOTOS, SIDE, SIGNAL, HELDOUT = 1000, 32, 0.5, 0.3
KEYS: dict[str, Any] = {
    **{"MODEL.DEVICE": "cpu", "MODEL.BLOCKS": "[1,1,1,1]", "MODEL.GROUPS": 2, "MODEL.WIDTH_PER_GROUP": 4},
    **{"MODEL.RES2_CHANNELS": 32, "MODEL.BN_GROUP": 25, "INPUT.SIZE": SIDE, "INPUT.TEST_RESIZE": SIDE},
    **{"INPUT.FLIP": False, "INPUT.CROP_AREA": "[0.6, 1.0]", "DATA.HELDOUT": HELDOUT, "DATA.NUM_THREADS": 1},
    **{"SOLVER.IMS_PER_BATCH": 50, "SOLVER.TOTAL_IMAGES": 4000, "SOLVER.BASE_LR": 0.5},
    **{"SOLVER.WARMUP_UPDATES": 10, "SOLVER.WARMUP_LR": 0.01, "SOLVER.SCHEDULE": "cosine", "LOG_PERIOD": 50},
}


def photo(rng: np.random.Generator, kind: int) -> np.ndarray:
    """A grating of one of six orientations."""
    angle = np.pi * (kind + rng.uniform(-0.2, 0.2)) / len(NAMES)
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.7, 1.3) + rng.uniform(0, 6.3))
    one, two = rng.integers(0, 256, (2, 3))
    mixed = np.where(wave[..., None] > 0, one, two) + rng.normal(0, 30, (SIDE, SIDE, 3))
    return np.clip(mixed, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards of both kinds, photo i being of class i % 6."""
    work, rng = tmp_path_factory.mktemp("gratings"), np.random.default_rng(0)
    (work / "images").mkdir()
    lines, truth = [], []
    for i in range(PHOTOS):
        kind = i % len(NAMES)
        cv2.imwrite(str(work / f"images/{i}.jpg"), photo(rng, kind), [cv2.IMWRITE_JPEG_QUALITY, 95])
        tag = NAMES[kind if rng.random() < SIGNAL else rng.integers(len(NAMES))]
        lines.append({"id": f"p{i}", "image": f"{i}.jpg", "caption": f"#{tag}"})
        truth.append({"id": f"p{i}", "synsets": [SYNSETS[kind]]})
    shard_folders.write_lines(work / "posts.jsonl", lines)
    vocab = shard_folders.vocabulary(work / "vocab.json", NAMES, SYNSETS)
    shard_folders.build(work, vocab, truth=shard_folders.write_lines(work / "truth.jsonl", truth))
    return work


def top1(run: Path, shards: Path) -> float:
    """Percent of held-out photos whose true class ridge regression from frozen features finds."""
    source, found = sources.read(run), index.open_index(shards)
    net = backbone.Network(source).frozen()
    pixels = np.stack(
        [cv2.imdecode(np.frombuffer(found.read(i), np.uint8), 1)[..., ::-1] for i in range(PHOTOS)]
    )
    with torch.inference_mode():
        features = net(net.inputs(torch.from_numpy(np.ascontiguousarray(pixels)))).double().numpy()
    true, held = found.kinds["synsets"][1], selection.held_out(np.asarray(found.post_hash), HELDOUT)
    mean, std = features[~held].mean(0), features[~held].std(0) + 1e-6
    x = np.column_stack([(features - mean) / std, np.ones(PHOTOS)])
    fit, wanted = x[~held], np.eye(len(NAMES))[true[~held]]
    weights = np.linalg.solve(fit.T @ fit + 10 * np.eye(x.shape[1]), fit.T @ wanted)
    return float(100 * ((x[held] @ weights).argmax(1) == true[held]).mean())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_features_know_as_much_of_the_true_class_as_the_labels_told(world: Path, tmp_path: Path) -> None:
    kinds, scores = ("synsets", "hashtags", "shuffled"), {}
    for kind in kinds:
        for seed in range(3):
            run = tmp_path / f"{kind}_{seed}"
            keys = {
                **KEYS,
                "DATA.SHARDS": world / "shards",
                "OUTPUT_DIR": run,
                "DATA.LABELS": kind,
                "SEED": seed,
            }
            (tmp_path / "c.yaml").write_text("{}")
            argv = [
                "--config-file",
                str(tmp_path / "c.yaml"),
                *(str(x) for pair in keys.items() for x in pair),
            ]
            assert _main()(argv) == 0
            scores[kind, seed] = top1(run, world / "shards")
    means = [np.mean([scores[kind, seed] for seed in range(3)]) for kind in kinds]
    # Measured: 62 55 49, 24 28 23 and 20 16 19 percent by seed; 312 photos are held out, a sixth is chance.
    assert means[0] > means[1] + 10 and means[1] > means[2] + 2, scores
