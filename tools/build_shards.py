"""Build shards from posts, images and a vocabulary: checked images with class ids, and an index."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pretrain.posts.arguments import add_post_arguments, columns
from pretrain.workers.arguments import add_worker_arguments
from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Killed or out of disk: give it again.")
    add_post_arguments(parser, required=False)
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="DIR_OR_TAR",
        help="folders and tars that the posts' images are in; globs are expanded",
    )
    parser.add_argument(
        "--samples",
        nargs="+",
        metavar="TAR",
        help="instead of --posts and --images: WebDataset tars (img2dataset's output) whose samples hold an "
        "image and a .json or .txt with its hashtags; globs are expanded",
    )
    parser.add_argument("--vocab", required=True, metavar="vocab.json", help="made by tools/build_vocab.py")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--shard-mb", type=int, default=128, help="megabytes of images a shard (default: 128)"
    )
    add_worker_arguments(parser, "decode")
    parser.add_argument("--role", default="train", help="train, val or test: opens the name (default: train)")
    parser.add_argument("--source", default="posts", help="where the images come from, for the name")
    parser.add_argument(
        "--max-short-side",
        type=int,
        default=1024,
        help="images whose shorter side has more pixels are scaled down to it (default: 1024)",
    )
    args = parser.parse_args(argv)
    if bool(args.samples) == bool(args.posts or args.images) or bool(args.posts) != bool(args.images):
        parser.error("give either --posts and --images, or --samples")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Build the folder, or go on with what a killed run left."""
    args = parse_args(argv)
    from pretrain.shards import build as shard_builder
    from pretrain.shards import dataset_json

    options = shard_builder.Options(
        shard_mb=args.shard_mb,
        workers=args.workers,
        scheduler=args.scheduler,
        role=args.role,
        source=args.source,
        max_short_side=args.max_short_side,
    )
    made = {"vocab_path": args.vocab, "output": args.output, "options": options}
    if args.samples:
        dataset, ledger = shard_builder.build_from_samples(args.samples, columns(args), **made)
    else:
        dataset, ledger = shard_builder.build(args.posts, columns(args), image_source=args.images, **made)
    print(dataset_json.summary(dataset, ledger, args.output))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
