"""Make train/ and val/ class folders, of links, from the files that a data set's authors distribute."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool

_NEEDS = {
    "cub": ("source",),
    "places365": ("source", "train", "val"),
    "in1k": ("train", "val", "labels"),
    "synsets": ("source", "synsets"),
    "posts": ("truth", "posts", "images"),
}


def options(parser: ArgumentParser) -> None:
    parser.epilog = "What each kind needs: docs/transfer.md."
    add = parser.add_argument
    add("--kind", required=True, choices=tuple(_NEEDS))
    add("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    add("--source", type=Path, metavar="DIR", help="cub: CUB_200_2011; places365: its lists; synsets: wnids")
    add("--train", type=Path, metavar="DIR", help="in1k: wnid folders; places365: data_large or data_256")
    add("--val", type=Path, metavar="DIR", help="in1k, places365: the folder of the val photos")
    add("--labels", type=Path, metavar="FILE", help="in1k: the wnids of the val photos")
    add("--synsets", metavar="LIST", help="synsets: a file with one wnid a line, or timm:NAME")
    add("--val-per-class", type=int, default=50, help="synsets: photos drawn for val (default: %(default)s)")
    add("--truth", type=Path, metavar="T.jsonl", help='posts: objects with "id" and "wnid" or "label"')
    add("--posts", nargs="+", metavar="FILE", help="posts: the posts, as for build_shards")
    add("--images", type=Path, metavar="DIR", help="posts: the folder of their images")
    add("--heldout", type=float, default=0.02, help="posts: DATA.HELDOUT of the runs (default: %(default)s)")
    add("--seed", type=int, default=0, help="synsets: of the draw (default: %(default)s)")


def wrong(args: Namespace) -> str:
    lacking = [f"--{name}" for name in _NEEDS[args.kind] if getattr(args, name) is None]
    return f"--kind {args.kind} needs {', '.join(lacking)}" if lacking else ""


def run(args: Namespace) -> None:
    from pretrain.transfer import prepare, sources

    if args.kind == "cub":
        listing = sources.cub(args.source)
    elif args.kind == "places365":
        listing = sources.places(args.source, args.train, args.val)
    elif args.kind == "in1k":
        listing = sources.imagenet(args.train, args.val, args.labels)
    elif args.kind == "synsets":
        drawn = {"val_per_class": args.val_per_class, "draw_seed": args.seed}
        listing = sources.synsets(args.source, args.synsets, **drawn)
    else:
        listing = sources.posts(args.truth, args.posts, args.images, heldout=args.heldout)
    print(prepare.summary(prepare.lay(listing, args.output), args.output))


main = Tool(__doc__, options, run, wrong, by_address={"posts"}, new={"output"})
if __name__ == "__main__":
    main.leave()
