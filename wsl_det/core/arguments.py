"""Command-line options that several tools share; light, so that --help needs no torch."""

from __future__ import annotations

import argparse
from typing import Any

MODES = ("exclude", "wrong")


def add_launch_args(parser: argparse.ArgumentParser) -> None:
    """Add ``--num-gpus --num-machines --machine-rank --dist-url``, as Detectron2 names them."""
    group = parser.add_argument_group("processes", "torchrun's environment is honoured too")
    group.add_argument("--num-gpus", type=int, default=1, help="processes on this machine (gloo on the CPU)")
    group.add_argument("--num-machines", type=int, default=1, help="machines in the job")
    group.add_argument("--machine-rank", type=int, default=0, help="rank of this machine, from 0")
    group.add_argument(
        "--dist-url", default="auto", help="tcp://HOST:PORT of machine 0; auto works on one machine"
    )


def launch_options(args: argparse.Namespace) -> dict[str, Any]:
    """The parsed options as keyword arguments of ``dist.launch``."""
    names = ("num_gpus", "num_machines", "machine_rank", "dist_url")
    return {name: getattr(args, name) for name in names}


def add_verdict_args(parser: argparse.ArgumentParser) -> None:
    """Add ``--verdicts`` and ``--duplicates``: how test images seen in training are treated."""
    parser.add_argument("--verdicts", metavar="V.json", help="duplicates, as judged on review.html")
    parser.add_argument(
        "--duplicates",
        choices=MODES,
        help="leave duplicate test images out, or count every answer on them as an error (a lower bound)",
    )
