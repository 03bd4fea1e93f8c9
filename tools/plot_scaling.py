"""Draw accuracy or AP against images, capacity, vocabulary, sampling and noise; fit and compare curves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("study", metavar="STUDY.yaml", help="targets, entries, figures; see docs/scaling.md")
    add("--output", type=Path, required=True, metavar="DIR", help="for page, figures and json")
    add("--paper", action="store_true", help="the paper's own curves beside, as reference")


def run(args: Namespace) -> None:
    from wsl_det.core import config
    from wsl_det.study.scaling import content, entries

    study = config.config_path(args.study, "docs/scaling")
    written, told = content.write(entries.read(study, paper=args.paper), args.output)
    print("\n".join([*told, f"written: {written}"]))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
