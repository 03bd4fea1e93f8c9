"""Print parameters and multiply-adds of pretraining trunks, by default the paper's five widths."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--config-file", help="the trunk of this config instead of the paper's five")
    add("--classes", nargs="+", type=int, default=[1000, 1500, 8500, 17000], help="sizes of the head")
    add("--size", type=int, default=224, help="side of the image in pixels (default: 224)")
    add("opts", nargs="*", metavar="KEY VALUE", help="such as MODEL.WIDTH_PER_GROUP 8")


def run(args: Namespace) -> None:
    from pretrain.training import defaults, job, plan
    from wsl_det.core import config

    archs = plan.paper_archs()
    if args.config_file:
        cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
        archs = [job.make_arch(cfg)]
    print(plan.table(archs, args.classes, args.size))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
