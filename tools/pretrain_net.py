"""Pretrain a ResNeXt on hashtag shards: images and their tags to model_final.pth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors
from wsl_det.core.arguments import add_launch_args, launch_options


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="a YAML of configs/pretrain or configs/quick")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR")
    parser.add_argument("--plan", action="store_true", help="print what would be done, and start nothing")
    parser.add_argument("--images-per-second", type=float, help="of the whole job, for the hours of --plan")
    add_launch_args(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="DATA.SHARDS, OUTPUT_DIR and others")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train in every process of the job."""
    args = parse_args(argv)
    from pretrain.training import defaults, job, plan, train
    from wsl_det.core import config, dist

    cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
    world = args.num_gpus * args.num_machines
    if args.plan:
        print(plan.describe(cfg, world=world, images_per_second=args.images_per_second))
        return 0
    job.check(cfg, world=world)  # before any process is started
    dist.launch(train.pretrain, (cfg, args.resume), **launch_options(args), device=cfg.MODEL.DEVICE)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
