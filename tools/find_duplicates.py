"""Find test images among the training images: candidate pairs, a calibrated threshold, a page to judge."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    parser.epilog = "with --verdicts and --output alone: read what review.html saved and go on from there"
    add = parser.add_argument
    add("--train", type=Path, metavar="SHARDS", help="folder made by wsl-det build_shards")
    add(
        "--against", nargs="+", default=[], metavar="IMAGES_OR_COCO",
        help="test sets: a folder of images, ANNOTATIONS.json or ANNOTATIONS.json=FOLDER",
    )  # fmt: skip
    add("--self", action="store_true", help="search the training images for each other instead")
    add("--backbone", metavar="B.pth", help="trunk that describes images, by wsl-det export_backbone")
    add("--output", type=Path, required=True, metavar="DIR", help="a new folder for pairs, curves and page")
    add("--verdicts", nargs="+", metavar="V.json", help="verdicts of DIR's page; two are compared")
    add("--threshold", type=float, help="least score of a pair (default: calibrated on planted copies)")
    add("--recall", type=float, default=0.95, help="of planted copies, over kinds (default %(default)s)")
    add("--planted", type=int, default=200, help="images to plant copies of, each kind (default %(default)s)")
    add("--neighbours", type=int, default=21, help="kept for each test image (default %(default)s)")
    add("--max-pairs", type=int, default=1000, help="shown on the page, best first (default %(default)s)")
    add("--level", default="res5", help="stage whose features are pooled: res2 to res5 (default %(default)s)")
    add("--size", type=int, default=224, help="pixels that images are fitted to (default %(default)s)")
    add("--scales", type=int, default=3, help="sizes of regions (default %(default)s)")
    add("--self-search", default="exact", choices=("exact", "faiss"), help="for --self (default %(default)s)")
    add("--workers", type=int, help="processes that decode and describe (default: every core)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default %(default)s)")
    add("--cache", type=Path, metavar="DIR", help="keeps descriptors, so that a killed search goes on")
    add("--seed", type=int, default=0, help="of the planted copies (default %(default)s)")


def wrong(args: Namespace) -> str:
    if args.verdicts and (args.train or args.against or args.self):
        return "--verdicts belongs to a search that is done; give it with --output alone"
    if not args.verdicts and not (args.train and args.backbone and bool(args.against) != args.self):
        return "give --train, --backbone and either --against or --self (or --verdicts and --output)"
    return ""


def run(args: Namespace) -> None:
    from pretrain.duplicates import review
    from pretrain.duplicates.rmac import Settings
    from pretrain.duplicates.search import Options

    if args.verdicts:
        print(review.taken_back(args.output, args.verdicts))
        return 0
    names = ("neighbours", "planted", "recall", "threshold", "workers", "device", "cache", "seed")
    given = {name: getattr(args, name) for name in names}
    settings = Settings(args.level, args.size, args.scales)
    options = Options(settings=settings, self_search=args.self_search, **given)
    against = tuple(args.against)
    request = review.Request(args.train, against, args.backbone, args.output, args.max_pairs)
    print(review.summary(review.find(request, options), args.output))


main = Tool(__doc__, options, run, wrong, by_address={"train"}, new={"output"})
if __name__ == "__main__":
    main.leave()
