"""How cost grows: CPU time over a decade of each quantity, with the exponent fitted to it.

    python benchmarks/bench_growth.py [--only NAME ...] [--repeat 3]

Every job runs at some sizes from n to 10 n, in turns, ``--repeat`` times in this process; the least
time of each size is kept. The exponent is the slope of a straight line through the logarithms, beside it the
exponent of the work itself: a job is flagged (and the program ends with 1) when it grows faster
than its work by more than 0.15. Exponents under the work's are what a fixed cost looks like.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
SLACK = 0.15
Work = Callable[[], Any]


@dataclass(frozen=True)
class Job:
    """``prepare(size, folder)`` gives what is timed; ``work`` is the exponent of what it has to do."""

    what: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Work]
    work: float = 1.0


def evaluation(size: int, folder: Path, *, of: str, card: bool = False) -> Work:
    """Boxes of a simulated set: ``of`` images, classes or detections there are ``size``."""
    from benchmarks import simulation

    images = size if of == "images" else 400
    classes = size if of == "classes" else 20
    background = size / images if of == "detections" else 10.0
    scene = simulation.world(
        images=images, classes=classes, seed=0, objects=5.0, background=max(background, 8.0)
    )
    paths = [folder / f"{of}{size}{side}.json" for side in "ab"]
    for path, error in zip(paths, (0.15, 0.10), strict=True):
        detector = simulation.Detector(class_error=error, background=background, duplicates=0.0)
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        path.write_text(json.dumps(results))
    gt = folder / f"{of}{size}gt.json"
    gt.write_text(json.dumps(truth))
    return functools.partial(_card, gt, *paths) if card else functools.partial(_evaluate, gt, paths[0])


def _evaluate(gt: Path, predictions: Path) -> None:
    from wsl_det.evaluation import coco_ap

    coco_ap.evaluate(gt, predictions)


def _card(gt: Path, a: Path, b: Path) -> None:
    from wsl_det.gain import report
    from wsl_det.gain.comparison import Options

    report.make(gt, [a], [b], Options(100, 20, 0))


def counting(size: int, folder: Path) -> Work:
    """Posts with hashtags drawn from a fixed lot, one process."""
    from pretrain.posts import files as post_files
    from pretrain.posts.records import Columns
    from pretrain.vocabulary import counting as counts
    from pretrain.vocabulary.hashtags import Rules

    chance, path = random.Random(0), folder / f"posts{size}.jsonl"
    tags = [f"#tag{i}" for i in range(5000)] + ["#brownbear", "#goldfish", "#crane"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            caption = "a day " + " ".join(chance.choices(tags, k=4))
            file.write(json.dumps({"id": str(number), "caption": caption}) + "\n")

    def work() -> None:
        for part in post_files.parts([str(path)]):
            counts.count_part(part, Columns(), Rules())

    return work


def stream(size: int, folder: Path, *, of: str) -> Work:
    """Batches of one of ``size`` processes (each 24 images), or an epoch over ``size`` images."""
    from pretrain.stream import sampling

    images = size if of == "images" else 400_000
    rng = np.random.default_rng(0)
    made = functools.partial(
        sampling.SampleStream,
        label_offsets=np.arange(images + 1),
        label_values=rng.integers(0, 1000, images).astype(np.int32),
        post_hash=rng.integers(0, 2**63, images).astype(np.uint64),
        shard_starts=np.linspace(0, images, 41).astype(np.int64),
        num_tags=1000,
        seed=0,
        policy="sqrt",
    )
    if of == "images":
        return lambda: made().take(images // 2, 256)
    ready = made()
    ready.take(0, 1)  # the plan of the epoch, once

    def work() -> None:
        share = slice(24 * (size - 1), 24 * size)
        for step in range(1000):
            ready.take(step * 24 * size, 24 * size)[share]

    return work


def writing(size: int, folder: Path) -> Work:
    """Images of 128 x 96 pixels into one shard after another, one process."""
    from PIL import Image

    from pretrain.posts.records import Columns
    from pretrain.shards import build as shard_builder
    from pretrain.vocabulary import job as vocabulary_job
    from pretrain.vocabulary.hashtags import Rules

    home = folder / f"shards{size}"
    (home / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    packed = []
    for _ in range(20):
        picture, file = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)), io.BytesIO()
        picture.resize((128, 96), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        packed.append(file.getvalue())
    posts = home / "posts.jsonl"
    with posts.open("w") as file:
        for i in range(size):
            (home / "images" / f"{i}.jpg").write_bytes(packed[i % 20])
            file.write(json.dumps({"id": str(i), "image": f"{i}.jpg", "caption": "#goldfish #crane"}) + "\n")
    vocab = home / "vocab.json"
    selection = vocabulary_job.Selection("wordnet", None, 1)
    made = {"posts": [str(posts)], "columns": Columns(), "rules": Rules(), "selection": selection}
    vocabulary_job.run(vocabulary_job.Job(**made, output=str(vocab)), workers=1)
    options = shard_builder.Options(shard_mb=1, workers=1)
    number = iter(range(1000))
    return lambda: shard_builder.build(
        [str(posts)], Columns(), image_source=str(home / "images"), vocab_path=vocab,
        output=home / f"out{next(number)}", options=options,
    )  # fmt: skip


def _jobs() -> dict[str, Job]:
    images = functools.partial(evaluation, of="images")
    return {
        "evaluate-images": Job("evaluation: images", (500, 1500, 5000), images),
        "evaluate-classes": Job(
            "evaluation: classes, same objects", (20, 60, 200), functools.partial(evaluation, of="classes"), 0
        ),
        "evaluate-detections": Job(
            "evaluation: detections in 400 images", (6000, 18_000, 60_000),
            functools.partial(evaluation, of="detections"),
        ),
        "card-images": Job(
            "gain card: images", (200, 600, 2000), functools.partial(evaluation, of="images", card=True)
        ),
        "card-classes": Job(
            "gain card: classes, same objects", (8, 24, 80),
            functools.partial(evaluation, of="classes", card=True), 1,
        ),
        "card-detections": Job(
            "gain card: detections in 400 images", (4000, 12_000, 40_000),
            functools.partial(evaluation, of="detections", card=True),
        ),
        "counting": Job("hashtag counting: posts", (30_000, 90_000, 300_000), counting),
        "stream-images": Job(
            "sample stream: images, one epoch's plan and a batch", (200_000, 600_000, 2_000_000),
            functools.partial(stream, of="images"),
        ),
        "stream-processes": Job(
            "sample stream: processes, 1,000 batches of the last rank", (8, 24, 80),
            functools.partial(stream, of="processes"),
        ),
        "writing": Job("shard writing: images", (300, 900, 3000), writing),
    }  # fmt: skip


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> int:
    jobs = _jobs()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=tuple(jobs), default=list(jobs), metavar="NAME")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print("| what grows | sizes | CPU s | exponent | of the work |\n|---|---|---|---|---|")
    faster = False
    for name in args.only:
        job = jobs[name]
        with tempfile.TemporaryDirectory() as folder:
            works = [job.prepare(size, Path(folder)) for size in job.sizes]
            works[0]()  # imports and compiled loops
            best = [float("inf")] * len(works)
            for _ in range(args.repeat):
                for i, work in enumerate(works):
                    began = time.process_time()
                    work()
                    best[i] = min(best[i], time.process_time() - began)
        slope = exponent(job.sizes, best)
        bad = slope > job.work + SLACK
        faster |= bad
        sizes, seconds = ", ".join(f"{n:,}" for n in job.sizes), ", ".join(f"{s:.2f}" for s in best)
        mark = " (faster than its work)" if bad else ""
        print(f"| {job.what} | {sizes} | {seconds} | {slope:.2f}{mark} | {job.work:g} |", flush=True)
    return int(faster)


if __name__ == "__main__":
    sys.exit(main())
