"""Detect objects in your own photos: drawn, and as a COCO results list."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--config-file",
        required=True,
        metavar="C",
        help="the detector's config; config.yaml of its run will do",
    )
    add("--weights", required=True, metavar="W", help="such as model_final.pth of a run")
    add("--images", required=True, metavar="DIR", help="a folder of photos, or one photo")
    add("--output", required=True, metavar="DIR", help="index.html, drawn/, predictions.json, images.json")
    add("--engine", default="auto", choices=("auto", "detectron2", "embedded"))
    add("--score", type=float, default=0.5, help="lowest score kept (default 0.5)")
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys, such as MODEL.DEVICE cpu")


def run(args: Namespace) -> None:
    from wsl_det.core import config, log
    from wsl_det.detector import defaults, drawn, pictures
    from wsl_det.zoo import resolve

    score = pictures.check_score(args.score)
    log.setup()
    cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
    made = pictures.predict(
        cfg, resolve.weights(args.weights), args.images, args.output, engine_name=args.engine, score=score
    )
    page = drawn.write(made.pictures, args.output, score, "drawn/")
    print("\n".join([*made.lines(args.output), f"look at {page}"]))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
