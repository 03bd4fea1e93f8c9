"""Report what a candidate gains over a baseline: how much, how sure, and in recognition or localization."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from typing import Any

from wsl_det.core.arguments import Tool, add_protocol_arg, add_verdict_args


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--gt", required=True, metavar="GT.json", help="COCO or LVIS annotation file")
    several = "COCO results; several files are runs with different training seeds"
    add("--baseline", required=True, nargs="+", metavar="P.json", help=several)
    add("--candidate", required=True, nargs="+", metavar="P.json", help=several)
    add("--output", required=True, metavar="DIR", help="folder for gain.json, gain.html, figures")
    add("--bootstrap", type=int, default=1000, metavar="N", help="image resamples (default %(default)s)")
    add(
        "--attribution-bootstrap",
        type=int,
        default=200,
        metavar="N",
        help="the same for the attribution to kinds of error; 0 leaves it out (default %(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the resamples (default %(default)s)")
    add("--images", metavar="DIR", help="test images, for the gallery of wins and losses")
    add(
        "--vocab",
        metavar="SHARDS_OR_VOCAB",
        help="where hashtags pay: the shard folder or vocab.json pretrained on, or what expect_gain wrote",
    )
    add("--train-gt", metavar="GT.json", help="annotations trained on: how often each class stands in them")
    add(
        "--allow-mismatch",
        action="store_true",
        help="print what is not alike in the report, do not refuse it",
    )
    add(
        "--names",
        nargs=2,
        metavar=("A", "B"),
        help="what the report calls the sides (default: their folders)",
    )
    add(
        "--require",
        nargs="+",
        action="extend",
        default=[],
        metavar="GAIN",
        help='exit with 1 unless the 95%% interval of a gain begins high enough: "AP >= -0.5", any metric, '
        "factor, kind or group",
    )
    add_protocol_arg(parser)
    add_verdict_args(parser)


def run(args: Namespace) -> int:
    from wsl_det.evaluation import duplicates
    from wsl_det.gain import gate, report, verdict
    from wsl_det.gain.comparison import Options

    required = gate.parse(args.require)
    options = Options(args.bootstrap, args.attribution_bootstrap, args.seed)
    made = report.make(
        args.gt,
        args.baseline,
        args.candidate,
        options,
        allow_mismatch=args.allow_mismatch,
        duplicates=duplicates.read(args.verdicts, args.duplicates),
        names=tuple(args.names) if args.names else None,
        protocol=args.protocol,
        hashtags=_table_of(args.vocab) if args.vocab else None,
        train_gt=args.train_gt,
    )
    page = report.write(made, args.output, args.images)
    print("\n".join(verdict.summary(made.content)))
    print(f"report: {page}")
    unmet = gate.unmet(made.content, required)
    if unmet:
        print("; ".join(unmet), file=sys.stderr)
    return 1 if unmet else 0


def _table_of(vocab: str) -> Any:
    from pretrain.shards import detection_classes

    return partial(detection_classes.of, vocab)


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
