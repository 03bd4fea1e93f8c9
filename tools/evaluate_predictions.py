"""Score a COCO results file: the twelve numbers, AP at each IoU and per class, for boxes and masks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors
from wsl_det.core.arguments import add_verdict_args


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gt", required=True, metavar="GT.json", help="COCO annotation file")
    parser.add_argument("--predictions", required=True, metavar="P.json", help="COCO results list")
    parser.add_argument(
        "--iou-type", nargs="+", choices=("bbox", "segm"), help="default: all that P.json carries"
    )
    parser.add_argument("--output", metavar="results.json", help="where to write the numbers, unrounded")
    add_verdict_args(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from wsl_det.evaluation import coco_ap, duplicates

    treated = duplicates.read(args.verdicts, args.duplicates)
    results = coco_ap.evaluate(args.gt, args.predictions, args.iou_type, treated)
    print("\n".join(coco_ap.lines(results)))
    if args.output:
        coco_ap.write(args.output, results)
        print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
