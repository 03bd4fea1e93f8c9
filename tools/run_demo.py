"""Run the whole pipeline on data the package draws itself, from hashtags to a gain report."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--output", type=Path, default=Path("demo"), metavar="DIR", help="default demo")
    add("--short", action="store_true", help="less data, shorter schedules: a check, no result")
    add("--fresh", action="store_true", help="remove an earlier demo in the folder first")


def run(args: Namespace) -> None:
    from wsl_det.demo import pipeline

    pipeline.run(args.output, Path(__file__).parent, short=args.short, fresh=args.fresh)


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
