"""Fine-tune Mask or Faster R-CNN on COCO-format data, then detect on the test sets and evaluate."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import (
    RESUME_HELP,
    Tool,
    add_launch_args,
    add_protocol_arg,
    launch_options,
)


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--config-file", required=True, metavar="C", help="such as configs/mask_rcnn_ig.yaml")
    add("--engine", default="auto", choices=("auto", "detectron2", "embedded"))
    add("--eval-only", action="store_true", help="detect and evaluate with MODEL.WEIGHTS")
    add("--resume", action="store_true", help=RESUME_HELP)
    add(
        "--register",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "JSON", "IMAGE_DIR"),
        help="a COCO-format data set for DATASETS.TRAIN or DATASETS.TEST; may be given several times",
    )
    add_protocol_arg(parser)
    add_launch_args(parser)
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys: OUTPUT_DIR runs/x ...")


def run(args: Namespace) -> None:
    from functools import partial

    from wsl_det.core import config, dist
    from wsl_det.detector import datasets, defaults, train
    from wsl_det.evaluation import coco_ap
    from wsl_det.gain import inputs
    from wsl_det.zoo import resolve

    path = config.config_path(args.config_file)
    cfg = config.load(path, defaults.TREE, args.opts)
    cfg = cfg.override(MODEL__WEIGHTS=resolve.weights(cfg.MODEL.WEIGHTS))
    known = datasets.registered(args.register)
    for name in cfg.DATASETS.TEST if args.protocol else ():  # before the training
        inputs.ground_truth(datasets.locate(name, known)[0], args.protocol)
    job = train.Job(
        cfg,
        known,
        engine=args.engine,
        resume=args.resume,
        eval_only=args.eval_only,
        evaluate=partial(coco_ap.evaluate, protocol=args.protocol),
        config_file=path,
    )
    results = dist.launch(train.run, (job,), **launch_options(args), device=cfg.MODEL.DEVICE) or {}
    for name, result in results.items():
        print("\n".join([f"{name}:", *coco_ap.lines(result)]))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
