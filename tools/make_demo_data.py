"""Draw the demo data set: posts with hashtags to pretrain on, COCO scenes to fine-tune and evaluate on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line of the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    parser.add_argument("--size", choices=("small", "full"), default="full", help="default full")
    parser.add_argument(
        "--workers", type=int, default=None, metavar="N", help="processes (default: one a core)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data set and say what it holds."""
    args = parse_args(argv)
    from wsl_det.core import files
    from wsl_det.demo import dataset

    folder = dataset.make(args.output, size=args.size, random_seed=args.seed, workers=args.workers)
    made = files.read_json(folder / "dataset.json", "demo data set")
    print(f"{folder}: {made['posts']['images']} posts", end="")
    for part in ("train", "val"):
        print(f", {part} {made[part]['images']} images with {made[part]['objects']} objects", end="")
    print()
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
