"""Detect objects in your own photos: drawn, and as a COCO results list."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(prog="predict", description=__doc__)
    parser.add_argument(
        "--config-file",
        required=True,
        metavar="C",
        help="the detector's config; config.yaml of its run will do",
    )
    parser.add_argument("--weights", required=True, metavar="W", help="such as model_final.pth of a run")
    parser.add_argument("--images", required=True, metavar="DIR", help="a folder of photos, or one photo")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="drawn/, predictions.json, images.json"
    )
    parser.add_argument("--engine", default="auto", choices=("auto", "detectron2", "embedded"))
    parser.add_argument("--score", type=float, default=0.5, help="lowest score kept (default 0.5)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, such as MODEL.DEVICE cpu")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Detect, draw, write, and say what was written."""
    args = parse_args(argv)
    from wsl_det.core import config, log
    from wsl_det.detector import defaults, pictures
    from wsl_det.zoo import resolve

    score = pictures.check_score(args.score)
    log.setup()
    cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
    drawn = pictures.predict(
        cfg, resolve.weights(args.weights), args.images, args.output, engine_name=args.engine, score=score
    )
    print("\n".join(drawn.lines(args.output)))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
