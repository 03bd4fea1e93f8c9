"""Draw the demo data set: posts with hashtags to pretrain on, COCO scenes to fine-tune and evaluate on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    add("--size", choices=("small", "full", "study"), default="full", help="default full")
    add("--workers", type=int, default=None, metavar="N", help="processes (default: one a core)")


def run(args: Namespace) -> None:
    from wsl_det.core import files
    from wsl_det.demo import dataset

    folder = dataset.make(args.output, size=args.size, random_seed=args.seed, workers=args.workers)
    made = files.read_json(folder / "dataset.json", "demo data set")
    print(f"{folder}: {made['posts']['images']} posts", end="")
    for part in ("train", "val"):
        print(f", {part} {made[part]['images']} images with {made[part]['objects']} objects", end="")
    print()


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
