"""Draw predictions beside the annotations of their images, one picture each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(prog="draw_predictions", description=__doc__)
    parser.add_argument("--gt", required=True, metavar="GT.json", help="COCO annotation file")
    parser.add_argument("--predictions", required=True, metavar="P.json", help="COCO results list")
    parser.add_argument("--images", required=True, metavar="DIR", help="the folder of GT.json's images")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--score", type=float, default=0.5, help="lowest score drawn (default 0.5)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N images")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, and say what was written."""
    args = parse_args(argv)
    from wsl_det.detector import pictures

    score = pictures.check_score(args.score)
    drawn = pictures.compare(
        args.gt, args.predictions, args.images, args.output, score=score, limit=args.limit
    )
    print("\n".join(drawn.lines(args.output)))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
