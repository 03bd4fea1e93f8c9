"""A trial of hashtags by experiment: counts dealt to the demo's kinds at random, a deal for each pretraining.

    wsl-det make_demo_data --output demo/data
    python benchmarks/trial_deals.py run --data demo/data --output runs/deals --deals 8
    python benchmarks/trial_deals.py show --output runs/deals

In a deal half of the kinds have no hashtags; of the others each keeps those of 2, 8, 32 or 128 of its posts
(1, 4, 16 and 64 times 2), all photos as they are. Chance deals, so counts are independent of frequency, size
and whatever else a kind has. The detector is trained on the same scenes with the same seed in every deal. A
second ``run`` goes on where the first was stopped; ``show`` takes the deals that are finished.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.coco import reader
from wsl_det.core import files
from wsl_det.core import seed as seeds
from wsl_det.demo.catalogue import DETECTED, KINDS
from wsl_det.evaluation import detections, matching, metrics
from wsl_det.predictions import read

ROOT = Path(__file__).parents[1]
TIMES = (1, 4, 16, 64)
UNIT = 2
DRAWS, UPDATES = 9600, 120
REDEALS = 10_000
SMALL = ("MODEL.RESNETS.DEPTH", "14", "MODEL.MASK_ON", "False")


def deal(number: int) -> dict[str, int]:
    """Kind -> posts that keep its hashtags: half of the detected and half of the other kinds have none."""
    rng = seeds.numpy_generator("deal", number)
    counts: dict[str, int] = {}
    for detected in (True, False):
        names = [kind.name for kind in KINDS if kind.detected == detected]
        half = len(names) // 2
        times = [TIMES[i % len(TIMES)] for i in rng.permutation(len(TIMES) * 2)[:half]]
        dealt = [0] * (len(names) - half) + [UNIT * n for n in times]
        counts |= {names[i]: dealt[at] for at, i in enumerate(rng.permutation(len(names)))}
    return counts


def write_posts(data: Path, folder: Path, number: int) -> None:
    """The demo's posts with the hashtags of the deal alone: a kind's first word, on so many of its posts."""
    counts, rng = deal(number), seeds.numpy_generator("dealt posts", number)
    truth = [json.loads(line) for line in (data / "posts" / "truth.jsonl").read_text().splitlines()]
    tags: dict[str, list[str]] = {}
    for kind in KINDS:
        shown = [post["id"] for post in truth if kind.name in post["classes"]]
        if len(shown) < counts[kind.name]:
            sys.exit(f"{data} has {len(shown)} posts of {kind.name}; a deal needs {counts[kind.name]}")
        for i in rng.permutation(len(shown))[: counts[kind.name]]:
            tags.setdefault(shown[i], []).append((*kind.synonyms, *kind.ambiguous)[0])
    rows = [{"id": name, "image": f"{name}.jpg", "hashtags": tags[name]} for name in sorted(tags)]
    files.write_text(folder / "posts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    files.write_json(folder / "deal.json", counts)


def commands(data: Path, folder: Path, number: int) -> list[tuple[Path, list[str]]]:
    """(product, command) of a deal's stages, in order."""
    posts, scenes, run = folder / "posts.jsonl", data / "detection", folder / "pretrain"
    registered: list[str] = []
    for part in ("train", "val"):
        truth = scenes / "annotations" / f"instances_{part}.json"
        registered += ["--register", f"demo_{part}", str(truth), str(scenes / part)]
    quick = ROOT / "configs" / "quick"
    vocab, shards, trunk, out = (folder / n for n in ("vocab.json", "shards", "backbone.pth", "detector"))
    listed: list[tuple[Path, list[Any]]] = [
        (vocab, ["build_vocab", "--posts", posts, "--kind", "wordnet", "--no-audit", "--workers", 1,
                 "--output", vocab]),
        (shards / "dataset.json", ["build_shards", "--posts", posts, "--images", data / "posts" / "images",
                                   "--vocab", vocab, "--workers", 1, "--output", shards]),
        (run / "model_final.pth", ["pretrain_net", "--config-file", quick / "pretrain_control.yaml",
                                   "--resume", "DATA.SHARDS", shards, "OUTPUT_DIR", run, "SEED", number,
                                   "SOLVER.TOTAL_IMAGES", DRAWS, "SOLVER.SCHEDULE", "cosine",
                                   "SOLVER.KEEP_AT", "[]"]),
        (trunk, ["export_backbone", run, trunk]),
        (out / "results.json", ["train_net", "--config-file", quick / "demo_mask_rcnn.yaml", "--resume",
                                *registered, *SMALL, "MODEL.WEIGHTS", trunk, "OUTPUT_DIR", out, "SEED", 0,
                                "SOLVER.MAX_ITER", UPDATES, "SOLVER.STEPS", f"({UPDATES * 3 // 4},)",
                                "SOLVER.WARMUP_ITERS", 20, "SOLVER.CHECKPOINT_PERIOD", 20]),
    ]  # fmt: skip
    return [(product, [str(word) for word in words]) for product, words in listed]


def run(args: argparse.Namespace) -> None:
    """Make deals until there are as many as asked for, at the lowest priority."""
    os.nice(19)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for number in range(args.deals):
        folder, began = args.output / f"deal_{number:02}", os.times()
        started = time.monotonic()
        if not (folder / "deal.json").exists():
            write_posts(args.data, folder, number)
        with open(folder / "log.txt", "a") as out:
            for product, words in commands(args.data, folder, number):
                tool = ["-m", "wsl_det", *words]
                if product.exists():
                    continue
                done = subprocess.run(
                    [sys.executable, *tool], check=False, env=environment, stdout=out, stderr=out
                )
                if done.returncode:
                    sys.exit(f"deal {number} stopped at {words[0]}; see {folder / 'log.txt'}")
        used = os.times()
        cpu = used.children_user + used.children_system - began.children_user - began.children_system
        if cpu > 1:
            print(f"deal {number}: {time.monotonic() - started:.0f} s, {cpu:.0f} s of CPU time", flush=True)


def loose_ap(data: Path, folder: Path) -> np.ndarray:
    """(K,) AP@.1 of the detected kinds, in the order of the annotations' categories."""
    truth = reader.read(data / "detection" / "annotations" / "instances_val.json")
    aligned = detections.align(read(folder / "detector" / "predictions.json"), truth, "bbox")
    table = matching.match_aligned(aligned, matching.object_shapes(truth, "bbox"), truth, "bbox")
    assert list(truth.category_names) == [kind.name for kind in DETECTED]
    return metrics.measure(table).by_class[0, :, 0]


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of y on x, both (deals, kinds), what belongs to a kind or a deal taken away; 0 where that is all."""
    x, y = (v - v.mean(axis=0) - v.mean(axis=1, keepdims=True) + v.mean() for v in (x, y))
    return float((x * y).sum() / max((x * x).sum(), 1e-9))


def show(args: argparse.Namespace) -> None:
    """What the finished deals say, against deals that could have been dealt instead."""
    done = sorted(args.output.glob("deal_*/detector/results.json"))
    folders = [path.parents[1] for path in done]
    if len(folders) < 2:
        sys.exit(f"{len(folders)} deals are finished in {args.output}; two or more can be compared")
    dealt = np.array([[json.loads((f / "deal.json").read_text())[k.name] for k in DETECTED] for f in folders])
    found = np.array([loose_ap(args.data, folder) for folder in folders])
    rng = seeds.numpy_generator("other deals", len(folders))
    print(f"{len(folders)} deals; AP@.1 of the {len(DETECTED)} kinds {found.mean():.1f} on average")
    for times in (0, *(UNIT * n for n in TIMES)):
        print(f"  {times:4d} posts with its hashtags: AP@.1 {found[dealt == times].mean():.1f} of "
              f"{(dealt == times).sum()} kinds")  # fmt: skip
    for what, x in (("tenfold hashtags", np.log10(1 + dealt)), ("covered or not", (dealt > 0).astype(float))):
        real = slope(x, found)
        others = np.array([slope(rng.permuted(x, axis=1), found) for _ in range(REDEALS)])
        p = (1 + (abs(others) >= abs(real)).sum()) / (1 + REDEALS)
        low, high = np.quantile(others, [0.025, 0.975])
        print(
            f"{what}: {real:+.2f} points of AP@.1, p {p:.3f}; other deals give {low:+.2f} to {high:+.2f}, so "
            f"a true {2.8 * others.std():.1f} would be seen 8 times in 10"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--data", type=Path, default=Path("demo/data"), help="of make_demo_data, full size")
    parser.add_argument("--output", type=Path, default=Path("runs/deals"))
    parser.add_argument("--deals", type=int, default=8)
    args = parser.parse_args()
    {"run": run, "show": show}[args.what](args)


if __name__ == "__main__":
    main()
