"""Compare two readers' verdicts on duplicates: agreement, Cohen's kappa, and what both stand by as a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", metavar="A.json", help="verdicts saved from review.html")
    parser.add_argument("second", metavar="B.json", help="another reader's, of the same page")
    parser.add_argument(
        "--output", metavar="V.json", help="verdicts with what both say; all else becomes unsure"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from pretrain.duplicates import telling
    from wsl_det.core import verdicts

    readers = [verdicts.read(path) for path in (args.first, args.second)]
    print("\n".join([*map(telling.counted, readers), telling.agreed(*readers)]))
    if args.output:
        verdicts.write_settled(args.output, *readers)
        print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
