"""Compare two readers' verdicts on duplicates: agreement, Cohen's kappa, and what both stand by as a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("first", metavar="A.json", help="verdicts saved from review.html")
    add("second", metavar="B.json", help="another reader's, of the same page")
    add("--output", metavar="V.json", help="verdicts with what both say; all else becomes unsure")


def run(args: Namespace) -> None:
    from pretrain.duplicates import review
    from wsl_det.core import verdicts

    readers = [verdicts.read(path) for path in (args.first, args.second)]
    print("\n".join([*map(review.counted, readers), review.agreed(*readers)]))
    if args.output:
        verdicts.write_settled(args.output, *readers)
        print(f"written: {args.output}")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
