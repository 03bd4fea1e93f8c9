"""Run the whole pipeline on data the package draws itself, from hashtags to a gain report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="run_demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR", help="default demo")
    parser.add_argument(
        "--short", action="store_true", help="less data, shorter schedules: a check, no result"
    )
    parser.add_argument("--fresh", action="store_true", help="remove an earlier demo in the folder first")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages that are not done yet."""
    args = parse_args(argv)
    from wsl_det.demo import pipeline

    pipeline.run(args.output, Path(__file__).parent, short=args.short, fresh=args.fresh)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
