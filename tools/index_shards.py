"""Index other people's WebDataset tars for pretraining: labels and places of images; the tars stay."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pretrain.posts.records import add_column_arguments, asked_columns
from pretrain.workers.mapping import add_worker_arguments
from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = (
        "Posts are read from the samples' .json (the columns below) or, without captions or "
        "hashtags there, from their .txt. Images that training cannot read as they are get listed; "
        "wsl-det build_shards --samples rewrites them."
    )
    add("--shards", nargs="+", required=True, metavar="TAR", help="globs are expanded")
    add(
        "--kind",
        choices=("posts", "cls"),
        default="posts",
        help="cls: labels are true classes, from .cls members (default: posts, labels from hashtags)",
    )
    add(
        "--classes", metavar="FILE", help="cls: the wnids or names that numbers stand for, one a line, from 0"
    )
    add("--vocab", required=True, metavar="vocab.json", help="made by wsl-det build_vocab")
    add("--output", required=True, metavar="DIR", help="a new folder for the index")
    add_worker_arguments(parser, "decode")
    add("--no-decode", action="store_true", help="believe that every image is sound")
    add("--absolute", action="store_true", help="state the tars' full paths (default: relative to DIR)")
    add("--role", default="train", help="train, val or test: opens the name (default: train)")
    add("--source", default="posts", help="where the images come from, for the name")
    add_column_arguments(parser)


def wrong(args: Namespace) -> str:
    return "--classes is of --kind cls" if args.classes and args.kind != "cls" else ""


def run(args: Namespace) -> None:
    from pretrain.shards import adopt as shard_indexer
    from pretrain.shards import dataset_json
    from pretrain.shards.webdataset_tars import class_list

    options = shard_indexer.Options(
        workers=args.workers,
        scheduler=args.scheduler,
        decode=not args.no_decode,
        absolute=args.absolute,
        classes=class_list(args.classes) if args.kind == "cls" else None,
        naming=dataset_json.Naming(args.role, args.source),
    )
    dataset, ledger = shard_indexer.build(
        args.shards, asked_columns(args), vocab_path=args.vocab, output=args.output, options=options
    )
    print(dataset_json.summary(dataset, ledger, args.output))


main = Tool(__doc__, options, run, wrong, by_address={"shards", "output"})
if __name__ == "__main__":
    main.leave()
