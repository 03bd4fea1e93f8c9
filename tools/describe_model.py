"""Print parameters and multiply-adds of pretraining trunks, by default the paper's five widths."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", help="the trunk of this config instead of the paper's five")
    parser.add_argument(
        "--classes", nargs="+", type=int, default=[1000, 1500, 8500, 17000], help="sizes of the head"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the image in pixels (default: 224)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="such as MODEL.WIDTH_PER_GROUP 8")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    args = parse_args(argv)
    from pretrain.training import defaults, job, plan
    from wsl_det.core import config

    archs = plan.paper_archs()
    if args.config_file:
        cfg = config.load(config.config_path(args.config_file), defaults.TREE, args.opts)
        archs = [job.make_arch(cfg)]
    print(plan.table(archs, args.classes, args.size))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
