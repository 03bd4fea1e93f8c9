"""Fine-tune Mask or Faster R-CNN on COCO-format data, then detect on the test sets and evaluate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors
from wsl_det.core.arguments import add_launch_args, launch_options


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(prog="train_net", description=__doc__)
    parser.add_argument("--config-file", required=True, metavar="C", help="such as configs/mask_rcnn_ig.yaml")
    parser.add_argument("--engine", default="auto", choices=("auto", "detectron2", "embedded"))
    parser.add_argument("--eval-only", action="store_true", help="detect and evaluate with MODEL.WEIGHTS")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR")
    parser.add_argument(
        "--register",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "JSON", "IMAGE_DIR"),
        help="a COCO-format data set for DATASETS.TRAIN or DATASETS.TEST; may be given several times",
    )
    add_launch_args(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys: OUTPUT_DIR runs/x ...")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job in every process of the launch."""
    args = parse_args(argv)
    from wsl_det.core import config, dist
    from wsl_det.detector import datasets, defaults, train
    from wsl_det.evaluation import coco_ap
    from wsl_det.zoo import resolve

    path = config.config_path(args.config_file)
    cfg = config.load(path, defaults.TREE, args.opts)
    cfg = cfg.override(MODEL__WEIGHTS=resolve.weights(cfg.MODEL.WEIGHTS))
    job = train.Job(
        cfg,
        datasets.registered(args.register),
        engine=args.engine,
        resume=args.resume,
        eval_only=args.eval_only,
        evaluate=coco_ap.evaluate,
        config_file=path,
    )
    results = dist.launch(train.run, (job,), **launch_options(args), device=cfg.MODEL.DEVICE) or {}
    for name, result in results.items():
        print("\n".join([f"{name}:", *coco_ap.lines(result)]))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
