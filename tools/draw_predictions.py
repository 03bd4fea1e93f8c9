"""Draw predictions beside the annotations of their images, right and wrong told apart, with an index page."""

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
    from wsl_det.detector import drawn, pictures
    from wsl_det.errors import DataError
    from wsl_det.evaluation import judged, match_table

    score, right, told = pictures.check_score(args.score), None, []
    try:
        status = judged.judge(args.gt, args.predictions)
        right = {
            row: s == match_table.TRUE for row, s in enumerate(status.tolist()) if s != match_table.IGNORED
        }
    except DataError as error:  # what cannot be scored can be looked at
        told = [f"right and wrong are not told apart: {error}"]
    made = pictures.compare(
        args.gt, args.predictions, args.images, args.output, score=score, limit=args.limit, right=right
    )
    page = drawn.write(made.pictures, args.output, score)
    print("\n".join([*told, *made.lines(args.output), f"look at {page}"]))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
