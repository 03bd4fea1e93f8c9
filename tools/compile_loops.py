"""Compile the loops of evaluation and report ahead, once for an installation: else the first run waits."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    parser.epilog = "Takes 10 seconds or more; make env does it."


def run(args: Namespace) -> None:
    from wsl_det.gain import ahead

    ahead.compile_loops()
    print("the loops of evaluation and report are compiled")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
