"""Build shards from posts, images and a vocabulary: checked images with class ids, and an index."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pretrain.posts.records import add_post_arguments, asked_columns
from pretrain.workers.mapping import add_worker_arguments
from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = "Killed or out of disk: give it again."
    add_post_arguments(parser, required=False)
    add(
        "--images",
        nargs="+",
        metavar="DIR_OR_TAR",
        help="folders and tars that the posts' images are in; globs are expanded",
    )
    add(
        "--samples",
        nargs="+",
        metavar="TAR",
        help="instead of --posts and --images: WebDataset tars (img2dataset's output) whose samples hold an "
        "image and a .json or .txt with its hashtags; globs are expanded",
    )
    add(
        "--kind",
        choices=("posts", "folders", "cls"),
        default="posts",
        help="folders: --images DIR holds CLASS/photo (wnids or names); cls: the class is in the .cls of "
        "--samples; both give labels of true classes (default: posts, labels from hashtags)",
    )
    add("--truth", metavar="FILE", help="posts: jsonl with id and synsets, for labels of both kinds")
    add(
        "--classes", metavar="FILE", help="cls: the wnids or names that numbers stand for, one a line, from 0"
    )
    add("--vocab", required=True, metavar="vocab.json", help="made by wsl-det build_vocab")
    add("--output", required=True, metavar="DIR", help="a new folder")
    add("--shard-mb", type=int, default=128, help="megabytes of images a shard (default: 128)")
    add_worker_arguments(parser, "decode")
    add("--role", default="train", help="train, val or test: opens the name (default: train)")
    add("--source", default="posts", help="where the images come from, for the name")
    add(
        "--max-short-side",
        type=int,
        default=1024,
        help="images whose shorter side has more pixels are scaled down to it (default: 1024)",
    )


def wrong(args: Namespace) -> str:
    if args.kind != "posts" and args.truth:
        return f"--truth is of posts; --kind {args.kind} has true classes of its own"
    if args.kind == "folders":
        alone = args.images and len(args.images) == 1 and not (args.posts or args.samples)
        return "" if alone else "--kind folders takes one --images DIR, which holds CLASS/photo"
    if args.kind == "cls" and (args.posts or args.images or not args.samples):
        return "--kind cls takes --samples"
    if args.classes and args.kind != "cls":
        return "--classes is of --kind cls"
    if bool(args.samples) == bool(args.posts or args.images) or bool(args.posts) != bool(args.images):
        return "give either --posts and --images, or --samples"
    return ""


def run(args: Namespace) -> None:
    from pretrain.shards import build as shard_builder
    from pretrain.shards import dataset_json
    from pretrain.shards.webdataset_tars import class_list

    options = shard_builder.Options(
        shard_mb=args.shard_mb,
        workers=args.workers,
        scheduler=args.scheduler,
        role=args.role,
        source=args.source,
        max_short_side=args.max_short_side,
    )
    made = {"vocab_path": args.vocab, "output": args.output, "options": options}
    columns = asked_columns(args)
    if args.kind == "folders":
        dataset, ledger = shard_builder.build_from_folders(args.images[0], **made)
    elif args.samples:
        classes = class_list(args.classes) if args.kind == "cls" else None
        dataset, ledger = shard_builder.build_from_samples(
            args.samples, columns, truth=args.truth, classes=classes, **made
        )
    else:
        dataset, ledger = shard_builder.build(
            args.posts, columns, image_source=args.images, truth=args.truth, **made
        )
    print(dataset_json.summary(dataset, ledger, args.output))


main = Tool(__doc__, options, run, wrong, by_address={"posts", "images", "samples", "output"})
if __name__ == "__main__":
    main.leave()
