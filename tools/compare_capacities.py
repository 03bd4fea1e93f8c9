"""Draw the table of capacities by pretraining sets: AP and AP@50 of many detectors, grouped by trunk."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "entries", metavar="ENTRIES.yaml", help="title, and entries {trunk, pretraining, results}"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for page, figures and json"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from wsl_det.study import capacities

    title, entries = capacities.read(args.entries)
    print(f"written: {capacities.write(title, entries, args.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
