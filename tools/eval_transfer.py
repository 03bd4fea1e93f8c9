"""Measure how a backbone transfers to classification: frozen features, fine-tuning, or its own head."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from wsl_det.core.arguments import Tool, add_launch_args, add_verdict_args, launch_options

_PLAIN = ("data", "mode", "output", "size", "resize", "cache", "threads", "device", "amp", "seed")
_PLAIN += ("skip_budget", "check_share", "strengths", "duplicates")


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = "Data, protocols, results: docs/transfer.md."
    add = parser.add_argument
    add(
        "--backbone", required=True, metavar="B",
        help="an exported backbone, a pretraining run, zoo://NAME, timm:NAME, or a torchvision, timm or "
        "WSL file",
    )  # fmt: skip
    add("--data", required=True, type=Path, metavar="DIR", help="train/CLASS/photo and val/CLASS/photo")
    add("--mode", default="features", choices=("features", "finetune", "head"), help="default: %(default)s")
    add("--output", required=True, type=Path, metavar="R.json", help="accuracies, by class, confusions")
    add("--size", type=int, help="pixels of the centre crop (default: the run's own, else 224)")
    add("--resize", type=int, help="pixels of the shorter side before it (default: the run's own, else 256)")
    add("--cache", type=Path, metavar="DIR", help="keeps features and scores for the next time")
    add("--threads", type=int, default=2, help="that decode, in each process (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--amp", default="none", choices=("none", "bfloat16", "float16"), help="arithmetic of the network")
    add("--seed", type=int, default=0, help="of splits and draws (default: %(default)s)")
    add("--skip-budget", type=float, default=0.01, help="share of unreadable photos that stops it")
    add("--check-share", type=float, default=0.1, help="of train, to choose on (default: %(default)s)")
    add("--strengths", type=float, nargs="+", default=[], help="features: of the penalty, to choose from")
    add("--vocab", type=Path, metavar="vocab.json", help="head: classes of a run whose shards are not here")
    tune = parser.add_argument_group("fine-tuning")
    tune.add_argument(
        "--run", type=Path, metavar="DIR", help="its run folder (default: R.json without .json)"
    )
    tune.add_argument(
        "--resume", action="store_true", help="continue the run in that folder, if it has a checkpoint"
    )
    tune.add_argument("--rates", type=float, nargs="+", default=[], help="learning rates to choose from")
    tune.add_argument("--epochs", type=float, help="passes over train (default: by the size of the data)")
    tune.add_argument("--batch", type=int, default=256, help="photos of a step (default: %(default)s)")
    tune.add_argument("--bn-group", type=int, default=32, help="photos that share BN statistics")
    add_verdict_args(parser)
    add_launch_args(parser)


def run(args: Namespace) -> None:
    from pretrain.transfer import evaluate
    from pretrain.transfer.backbone import Named
    from wsl_det.core import dist
    from wsl_det.zoo import resolve

    path, options = resolve.described(args.backbone)
    names = ("run", "resume", "rates", "epochs", "batch", "bn_group")
    plain: dict[str, Any] = {name: getattr(args, name) for name in _PLAIN}
    request = evaluate.Request(
        backbone=Named(path, options),
        vocabulary=args.vocab,
        verdicts=Path(args.verdicts) if args.verdicts else None,
        finetune={name: getattr(args, name) for name in names},
        **plain,
    )
    evaluate.check(request)
    dist.launch(evaluate.evaluate, (request,), **launch_options(args), device=args.device)


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
