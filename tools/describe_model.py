"""Print parameters and multiply-adds of ResNe(X)t trunks, by default the paper's five widths."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--config-file", help="the trunk of this config, of pretraining or of a detector")
    add("--classes", nargs="+", type=int, default=[1000, 1500, 8500, 17000], help="sizes of the head")
    add("--size", type=int, default=224, help="side of the image in pixels (default: 224)")
    model = "instead of the five a config, or a name: resnext101_32x8d, or one of download_model --list"
    add("opts", nargs="*", metavar="[MODEL] KEY VALUE", help=f"{model}; then keys: MODEL.WIDTH_PER_GROUP 8")


def wrong(args: Namespace) -> str:
    if min(args.size, *args.classes) < 1:
        return "--size and --classes take numbers of at least 1"
    return "give one model, or KEY VALUE pairs" if args.config_file and len(args.opts) % 2 else ""


def run(args: Namespace) -> None:
    from pretrain.training import arch, defaults
    from wsl_det.core import config

    named = [args.config_file] if args.config_file else args.opts[: len(args.opts) % 2]
    opts = args.opts[len(args.opts) % 2 :]
    archs, stride_in_1x1, classes = arch.paper_archs(), False, args.classes
    if named and named[0].endswith((".yaml", ".yml")):
        archs, stride_in_1x1, classes = _of_config(named[0], opts, classes)
    elif named:
        archs, stride_in_1x1 = _of_name(named[0], opts)
    elif opts:
        archs = [arch.of_config(config.merge(defaults.TREE, {}, opts))]
    print(arch.table(archs, classes, args.size, stride_in_1x1=stride_in_1x1))


def _of_config(name: str, opts: Sequence[str], classes: list[int]) -> tuple[list[Any], bool, list[int]]:
    """The trunk of a config of pretraining, or of a detector's, which has no head of its own."""
    from pretrain.training import arch, defaults
    from wsl_det.core import config
    from wsl_det.detector import defaults as detection
    from wsl_det.errors import ConfigError

    path = config.config_path(name)
    try:
        config.load(path, defaults.TREE)
    except ConfigError as error:
        try:
            config.load(path, detection.TREE)
        except ConfigError:
            raise error from None
        cfg = config.load(path, detection.TREE, opts)
        keys = cfg.MODEL.RESNETS
        if "resnet" not in cfg.MODEL.BACKBONE.NAME:
            raise ConfigError(
                f"{name}: MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} is no ResNe(X)t"
            ) from None
        found = arch.make_arch(
            depth=keys.DEPTH,
            groups=keys.NUM_GROUPS,
            width_per_group=keys.WIDTH_PER_GROUP,
            res2_channels=keys.RES2_OUT_CHANNELS,
            stem_channels=keys.STEM_OUT_CHANNELS,
        )
        return [found], keys.STRIDE_IN_1X1, [0]
    return [arch.of_config(config.load(path, defaults.TREE, opts))], False, classes


def _of_name(name: str, opts: Sequence[str]) -> tuple[list[Any], bool]:
    from pretrain.training import arch
    from wsl_det.backbone import conventions
    from wsl_det.errors import ConfigError
    from wsl_det.zoo import catalogue

    if opts:
        raise ConfigError(f"{name} is one model as it is; KEY VALUE pairs change configs: {' '.join(opts)}")
    told = re.fullmatch(r"resne(?:xt(\d{2,3})_(\d{1,4})x(\d{1,4})d|t(\d{2,3}))", name)
    if told:
        depth, groups, width = (
            int(word or other) for word, other in zip(told.groups()[:3], (told[4], 1, 64), strict=True)
        )
        return [arch.make_arch(depth=depth, groups=groups, width_per_group=width)], False
    entry = catalogue.find(name)
    shape: dict[str, Any] = {key: value for key, value in entry.arch.items()}
    return [arch.make_arch(**shape)], conventions.KNOWN[entry.convention].stride_in_1x1


main = Tool(__doc__, options, run, wrong)
if __name__ == "__main__":
    main.leave()
