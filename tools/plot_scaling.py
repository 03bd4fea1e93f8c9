"""Draw accuracy or AP against images, capacity, vocabulary, sampling and noise; fit and compare curves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", metavar="STUDY.yaml", help="targets, entries, figures; see docs/scaling.md")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for page, figures and json"
    )
    parser.add_argument("--paper", action="store_true", help="the paper's own curves beside, as reference")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from wsl_det.study.scaling import entries, page

    written, told = page.write(entries.read(args.study, paper=args.paper), args.output)
    print("\n".join([*told, f"written: {written}"]))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
