"""Command-line options that several tools share; light, so that --help needs no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from wsl_det import errors

OUTPUTS = ("output", "audit")
MODES = ("exclude", "wrong")
RESUME_HELP = (
    "continue the run in OUTPUT_DIR from its newest checkpoint; where there is none yet, start from the "
    "beginning (a folder with damaged checkpoints only is refused)"
)


@dataclass(frozen=True)
class Tool:
    """A command line: its one sentence, what adds its options, and what it does with their values.

    ``options`` and ``wrong`` (a message for values that do not go together) need nothing heavy, so that
    --help and mistakes are answered at once; ``run`` imports what it needs. It is given local paths where
    addresses were, but for options that it reads or writes ``by_address``.
    """

    what: str | None
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    wrong: Callable[[argparse.Namespace], str] = lambda args: ""
    # Options whose addresses the tool takes as they are, and of OUTPUTS those that must not exist yet.
    by_address: Collection[str] = ()
    new: Collection[str] = ()

    def parse_args(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The values of a command line; a wrong one ends the program with usage and exit code 2."""
        parser = argparse.ArgumentParser(description=self.what)
        self.options(parser)
        # KEY VALUE pairs may stand before, between and after the options.
        pairs = any(action.dest == "opts" for action in parser._actions)
        args = parser.parse_intermixed_args(argv) if pairs else parser.parse_args(argv)
        if told := self.wrong(args):
            parser.error(told)
        return args

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """The tool with these words (default: those of the process); its exit code, 0 when it gives none."""
        args = self.parse_args(argv)
        from wsl_det.core import addresses  # --help and mistakes need none

        with addresses.arguments(vars(args), OUTPUTS, {"opts", *self.by_address}, self.new) as values:
            vars(args).update(values)  # not Namespace(**values): an option may be called self
            return self.run(args) or 0

    def leave(self) -> NoReturn:
        """The tool as a program of its own, its errors told."""
        sys.exit(errors.run(self))


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


def add_protocol_arg(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol``: by which rules a ground truth may be scored."""
    parser.add_argument(
        "--protocol",
        choices=("coco", "lvis"),
        help="refuse an annotation file that is scored by the other (default: found by the file)",
    )


def add_verdict_args(parser: argparse.ArgumentParser) -> None:
    """Add ``--verdicts`` and ``--duplicates``: how test images seen in training are treated."""
    parser.add_argument("--verdicts", metavar="V.json", help="duplicates, as judged on review.html")
    parser.add_argument(
        "--duplicates",
        choices=MODES,
        help="leave duplicate test images out, or count every answer on them as an error (a lower bound)",
    )
