"""Little photos in class folders, and a tiny trunk, as files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from pretrain.training import finish, model

ARCH = model.make_arch(depth=14, groups=2, width_per_group=4, res2_channels=32, blocks=(1, 1, 1, 1))
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def photo(label: int, rng: np.random.Generator, side: int = 40) -> bytes:
    """A JPEG whose hue and stripes tell its class, with noise."""
    y, x = np.mgrid[0:side, 0:side]
    stripes = 60 * np.sin((x if label % 2 else y) / (1.5 + label))
    pixels = np.stack([90 + 25 * ((label + c) % 4) + stripes for c in range(3)], axis=-1)
    pixels = pixels + rng.normal(0, 25, pixels.shape)
    done, data = cv2.imencode(".jpg", np.clip(pixels, 0, 255).astype(np.uint8))
    assert done
    return data.tobytes()


def write(root: Path, *, classes: int = 3, train: int = 8, val: int = 4, seed: int = 0) -> Path:
    """``root/{train,val}/n0000000K`` with so many photos a class."""
    rng = np.random.default_rng(seed)
    for split, number in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            for i in range(number):
                (folder / f"{i}.jpg").write_bytes(photo(label, rng))
    return root


def run(path: Path, *, classes: int = 4, vocabulary: str = "0" * 64) -> Path:
    """A finished pretraining run's folder, its weights drawn and its statistics moved once."""
    net = model.make(ARCH, classes, torch.Generator().manual_seed(3), bn_group=8, zero_init_last=False)
    net.train()(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(4)))
    payload = finish.final_payload(
        net.eval(),
        ARCH,
        "1" * 64,
        pixel_mean=MEAN,
        pixel_std=STD,
        vocabulary=vocabulary,
        dataset="train-posts-24-4",
        config={"INPUT": {"SIZE": 32, "TEST_RESIZE": 36}},
        bn_statistics="moved once",
        pretraining={"images": 24, "classes": classes, "sampling": "sqrt", "size": 32, "resize": 36},
    )
    path.mkdir(parents=True)
    torch.save(payload, path / "model_final.pth")
    return path
