"""Say what is installed, whether it fits together, and which detection engine will be used."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det import errors
from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    parser.epilog = "Exit code 2 when something needs mending."


def run(args: Namespace) -> None:
    from wsl_det.detector import environment

    findings = environment.look()
    print("\n".join(finding.line() for finding in findings))
    if wrong := [finding.what for finding in findings if finding.remedy]:
        raise errors.EngineError(f"to be mended: {', '.join(wrong)}; see the remedies above")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
