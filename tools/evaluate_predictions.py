"""Score a results file by COCO's or LVIS's protocol: all its numbers, AP at each IoU and by class."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool, add_protocol_arg, add_verdict_args


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--gt", required=True, metavar="GT.json", help="COCO or LVIS annotation file")
    add("--predictions", required=True, metavar="P.json", help="COCO results list")
    add("--iou-type", nargs="+", choices=("bbox", "segm"), help="default: all that P.json carries")
    add("--output", metavar="results.json", help="where to write the numbers, unrounded")
    add_protocol_arg(parser)
    add_verdict_args(parser)


def run(args: Namespace) -> None:
    from wsl_det.evaluation import coco_ap, duplicates

    treated = duplicates.read(args.verdicts, args.duplicates)
    results = coco_ap.evaluate(args.gt, args.predictions, args.iou_type, treated, args.protocol)
    print("\n".join(coco_ap.lines(results)))
    if args.output:
        coco_ap.write(args.output, results)
        print(f"written: {args.output}")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
