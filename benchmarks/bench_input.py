"""Pretraining input per core: decode, random resized crop, flip to 224, ours beside three peers'.

    python benchmarks/bench_input.py --images DIR [--scale 1.0] [--rounds 5] [--number 400]

DIR holds JPEGs in folders (any depth). Every contender reads the same files, one thread, no worker
processes, and gives 224x224 uint8 pixels; normalisation happens on the device for all of them. Bare
is cv2.imdecode of the whole photo and nothing else. Rounds turn the order; CPU time is compared within
a round. --scale enlarges the photos first, to see photos of another size (they are encoded again).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pretrain.stream import jpeg_regions, transforms

SIZE = 224
Contender = Callable[[], Iterable[Any]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    return parser.parse_args()


def photos(source: Path, number: int, scale: float, folder: Path) -> list[Path]:
    """``number`` JPEGs below ``source``, copied (and enlarged) into class folders below ``folder``."""
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:number]
    copies = []
    for i, path in enumerate(found):
        data = path.read_bytes()
        if scale != 1:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        copy = folder / f"class{i % 10}" / f"{i}.jpg"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(data)
        copies.append(copy)
    return copies


def bare(paths: list[Path]) -> Contender:
    def run() -> Iterable[Any]:
        return (cv2.imdecode(np.frombuffer(p.read_bytes(), np.uint8), cv2.IMREAD_COLOR) for p in paths)

    return run


def ours(paths: list[Path], *, reduce: bool = False, regions: bool = True) -> Contender:
    decoder = jpeg_regions.choose("on") if regions else None
    crop = transforms.TrainCrop(SIZE, reduce=reduce, regions=decoder)
    chances = np.random.default_rng(0).random((len(paths), transforms.NUM_CHANCES))

    def run() -> Iterable[Any]:
        return (crop(p.read_bytes(), c.tolist()) for p, c in zip(paths, chances, strict=True))

    return run


def timms(folder: Path) -> Contender:
    """timm's dataset and training transform as its prefetching loader takes them: uint8, no colour jitter."""
    from timm.data import ImageDataset, create_transform

    transform = create_transform(
        SIZE, is_training=True, use_prefetcher=True, color_jitter=None, auto_augment=None
    )
    dataset = ImageDataset(str(folder), transform=transform)
    return lambda: (dataset[i][0] for i in range(len(dataset)))


def torchvisions(folder: Path) -> Contender:
    """torchvision's reference classification transform up to uint8 pixels, on PIL images."""
    from torchvision import datasets
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    dataset = datasets.ImageFolder(str(folder), transform=crop)
    return lambda: (dataset[i][0] for i in range(len(dataset)))


def webdatasets(paths: list[Path], folder: Path) -> Contender:
    """webdataset's decoder on a tar of the photos, then torchvision's transform as above."""
    import webdataset
    from torchvision.transforms import v2

    tar = folder / "photos.tar"
    with tarfile.open(tar, "w") as file:
        for path in paths:
            file.add(path, arcname=path.name)
    crop = v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    stream = (
        webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False).decode("pil").to_tuple("jpg")
    )
    return lambda: (crop(sample[0]) for sample in stream)


def seconds(contender: Contender) -> float:
    began, count = time.process_time(), 0
    for pixels in contender():
        count += pixels is not None
    assert count
    return time.process_time() - began


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = photos(args.images, args.number, args.scale, folder)
        contenders = {
            "bare cv2.imdecode": bare(paths),
            "ours": ours(paths),
            "ours, INPUT.REDUCED_DECODE": ours(paths, reduce=True),
            "ours, INPUT.REGION_DECODE off": ours(paths, regions=False),
            "timm": timms(folder),
            "torchvision": torchvisions(folder),
            "webdataset": webdatasets(paths, folder),
        }
        names, took = list(contenders), {name: [] for name in contenders}
        for number in range(-1, args.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                spent = seconds(contenders[name])
                if number >= 0:  # the first round warms caches
                    took[name].append(spent)
        sizes = [cv2.imread(str(p)).shape[:2] for p in paths[:50]]
    print(f"{date.today()}  {platform.processor() or platform.machine()}  cv2 {cv2.__version__}")
    print(f"{len(paths)} JPEGs, median {statistics.median(w for _, w in sizes):.0f} x "
          f"{statistics.median(h for h, _ in sizes):.0f} pixels; {args.rounds} rounds")  # fmt: skip
    print("| who | images/s of a core | over timm, median (least to most) | share of bare |")
    print("|---|---|---|---|")
    for name in names:
        over = sorted(t / s for t, s in zip(took["timm"], took[name], strict=True))
        share = statistics.median(b / s for b, s in zip(took["bare cv2.imdecode"], took[name], strict=True))
        rate = len(paths) / statistics.median(took[name])
        print(f"| {name} | {rate:.0f} | {statistics.median(over):.2f} ({over[0]:.2f} to {over[-1]:.2f}) "
              f"| {100 * share:.0f}% |")  # fmt: skip


if __name__ == "__main__":
    main()
