"""Say before it is measured which detection classes should gain from a vocabulary, by its counts alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--vocab",
        required=True,
        metavar="SHARDS_OR_VOCAB",
        help="shard folder (images) or vocab.json (posts)",
    )
    add("--gt", metavar="GT.json", help="annotations whose categories to take (default: COCO's 80)")
    add("--output", required=True, metavar="FILE.json", help="what report_gain --vocab scores later")


def run(args: Namespace) -> None:
    from pretrain.shards import detection_classes
    from wsl_det.coco import reader
    from wsl_det.core import files
    from wsl_det.errors import DataError

    truth = reader.read(args.gt) if args.gt else None
    content = detection_classes.of(args.vocab, truth)
    if "said_in" in content:
        raise DataError(
            f"--vocab {args.vocab} is what expect_gain wrote; expected a shard folder or vocab.json"
        )
    files.write_json(args.output, content)
    print("\n".join(detection_classes.summary(content)))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
