"""Build shards from posts, images and a vocabulary: checked images with class ids, and an index."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pretrain.post_arguments import add_post_arguments, columns
from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_post_arguments(parser)
    parser.add_argument("--images", required=True, metavar="DIR_OR_TAR", help="what the posts' images are in")
    parser.add_argument("--vocab", required=True, metavar="vocab.json", help="made by tools/build_vocab.py")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--shard-mb", type=int, default=128, help="megabytes of images a shard (default: 128)"
    )
    parser.add_argument("--workers", type=int, help="processes that decode (default: every core)")
    parser.add_argument("--role", default="train", help="train, val or test: opens the name (default: train)")
    parser.add_argument("--source", default="posts", help="where the images come from, for the name")
    parser.add_argument(
        "--max-short-side", type=int, default=1024, help="larger images are scaled (default: 1024)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from pretrain import shard_builder

    options = shard_builder.Options(
        shard_mb=args.shard_mb,
        workers=args.workers,
        role=args.role,
        source=args.source,
        max_short_side=args.max_short_side,
    )
    dataset, ledger = shard_builder.build(
        args.posts,
        columns(args),
        image_source=args.images,
        vocab_path=args.vocab,
        output=args.output,
        options=options,
    )
    print(shard_builder.summary(dataset, ledger, args.output))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
