"""Make train/ and val/ class folders, of links, from the files that a data set's authors distribute."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsl_det import errors

_NEEDS = {
    "cub": ("source",),
    "places365": ("source", "train", "val"),
    "in1k": ("train", "val", "labels"),
    "synsets": ("source", "synsets"),
    "posts": ("truth", "posts", "images"),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="What each kind needs: docs/transfer.md.")
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
    args = parser.parse_args(argv)
    lacking = [f"--{name}" for name in _NEEDS[args.kind] if getattr(args, name) is None]
    if lacking:
        parser.error(f"--kind {args.kind} needs {', '.join(lacking)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Read the lists, make the links, say what was made."""
    args = parse_args(argv)
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
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
