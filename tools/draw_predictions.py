"""Draw predictions beside the annotations of their images, one picture each."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--gt", required=True, metavar="GT.json", help="COCO annotation file")
    add("--predictions", required=True, metavar="P.json", help="COCO results list")
    add("--images", required=True, metavar="DIR", help="the folder of GT.json's images")
    add("--output", required=True, metavar="DIR", help="where the pictures go")
    add("--score", type=float, default=0.5, help="lowest score drawn (default 0.5)")
    add("--limit", type=int, default=0, metavar="N", help="only the first N images")


def run(args: Namespace) -> None:
    from wsl_det.detector import pictures

    score = pictures.check_score(args.score)
    drawn = pictures.compare(
        args.gt, args.predictions, args.images, args.output, score=score, limit=args.limit
    )
    print("\n".join(drawn.lines(args.output)))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
