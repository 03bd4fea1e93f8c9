"""Pretrain a ResNeXt on hashtag shards: images and their tags to model_final.pth."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import RESUME_HELP, Tool, add_launch_args, launch_options


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--config-file", required=True, help="a YAML of configs/pretrain or configs/quick")
    add("--resume", action="store_true", help=RESUME_HELP)
    add("--plan", action="store_true", help="print what would be done, and start nothing")
    add("--images-per-second", type=float, help="of the whole job, for the hours of --plan")
    add(
        "--prices",
        nargs=2,
        type=float,
        default=(0.4, 0.0),
        metavar=("MILLION", "GB"),
        help="--plan with shards at an address: dollars for a million reads and a gigabyte (0.4 0)",
    )
    add_launch_args(parser)
    add("opts", nargs="*", metavar="KEY VALUE", help="DATA.SHARDS, OUTPUT_DIR and others")


def run(args: Namespace) -> None:
    from pretrain.training import defaults, job, plan, train
    from wsl_det.core import config, dist

    cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
    world = args.num_gpus * args.num_machines
    if args.plan:
        print(
            plan.describe(
                cfg, world=world, images_per_second=args.images_per_second, prices=tuple(args.prices)
            )
        )
        return 0
    job.check(cfg, world=world)  # before any process is started
    dist.launch(train.pretrain, (cfg, args.resume), **launch_options(args), device=cfg.MODEL.DEVICE)


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
