"""Report what a candidate gains over a baseline: how much, how sure, and in recognition or localization."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors
from wsl_det.core.arguments import add_verdict_args


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gt", required=True, metavar="GT.json", help="COCO annotation file")
    several = "COCO results; several files are runs with different training seeds"
    parser.add_argument("--baseline", required=True, nargs="+", metavar="P.json", help=several)
    parser.add_argument("--candidate", required=True, nargs="+", metavar="P.json", help=several)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for gain.json, gain.html, figures"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="image resamples (default %(default)s)"
    )
    parser.add_argument(
        "--attribution-bootstrap",
        type=int,
        default=200,
        metavar="N",
        help="the same for the attribution to kinds of error; 0 leaves it out (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the resamples (default %(default)s)"
    )
    parser.add_argument("--images", metavar="DIR", help="test images, for the gallery of wins and losses")
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="print what is not alike in the report, do not refuse it",
    )
    parser.add_argument(
        "--names",
        nargs=2,
        metavar=("A", "B"),
        help="what the report calls the sides (default: their folders)",
    )
    parser.add_argument(
        "--require",
        nargs="+",
        action="extend",
        default=[],
        metavar="GAIN",
        help='exit with 1 unless the 95%% interval of a gain begins high enough: "AP >= -0.5", any metric, '
        "factor, kind or group",
    )
    add_verdict_args(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
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
    )
    page = report.write(made, args.output, args.images)
    print("\n".join(verdict.summary(made.content)))
    print(f"report: {page}")
    unmet = gate.unmet(made.content, required)
    if unmet:
        print("; ".join(unmet), file=sys.stderr)
    return 1 if unmet else 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
