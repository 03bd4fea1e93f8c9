"""Index other people's WebDataset tars for pretraining: labels and places of images; the tars stay."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pretrain.posts.arguments import add_column_arguments, columns
from pretrain.workers.arguments import add_worker_arguments
from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Posts are read from the samples' .json (the columns below) or, without captions or "
        "hashtags there, from their .txt. Images that training cannot read as they are get listed; "
        "tools/build_shards.py --samples rewrites them.",
    )
    parser.add_argument("--shards", nargs="+", required=True, metavar="TAR", help="globs are expanded")
    parser.add_argument("--vocab", required=True, metavar="vocab.json", help="made by tools/build_vocab.py")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder for the index")
    add_worker_arguments(parser, "decode")
    parser.add_argument("--no-decode", action="store_true", help="believe that every image is sound")
    parser.add_argument(
        "--absolute", action="store_true", help="state the tars' full paths (default: relative to DIR)"
    )
    parser.add_argument("--role", default="train", help="train, val or test: opens the name (default: train)")
    parser.add_argument("--source", default="posts", help="where the images come from, for the name")
    add_column_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the index, or go on with what a killed run left."""
    args = parse_args(argv)
    from pretrain.shards import adopt as shard_indexer
    from pretrain.shards import dataset_json

    options = shard_indexer.Options(
        workers=args.workers,
        scheduler=args.scheduler,
        decode=not args.no_decode,
        absolute=args.absolute,
        naming=dataset_json.Naming(args.role, args.source),
    )
    dataset, ledger = shard_indexer.build(
        args.shards, columns(args), vocab_path=args.vocab, output=args.output, options=options
    )
    print(dataset_json.summary(dataset, ledger, args.output))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
