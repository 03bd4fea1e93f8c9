"""Draw the table of capacities by pretraining sets: AP and AP@50 of many detectors, grouped by trunk."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("entries", metavar="ENTRIES.yaml", help="title, and entries {trunk, pretraining, results}")
    add("--output", type=Path, required=True, metavar="DIR", help="for page, figures and json")


def run(args: Namespace) -> None:
    from wsl_det.study import capacities

    title, entries = capacities.read(args.entries)
    print(f"written: {capacities.write(title, entries, args.output)}")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
