"""Say what is installed, whether it fits together, and which detection engine will be used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; there is nothing to say."""
    parser = argparse.ArgumentParser(
        prog="check_env", description=__doc__, epilog="Exit code 2 when something needs mending."
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each thing looked at, with the remedy where there is one."""
    parse_args(argv)
    from wsl_det.detector import environment

    findings = environment.look()
    print("\n".join(finding.line() for finding in findings))
    if wrong := [finding.what for finding in findings if finding.remedy]:
        raise errors.EngineError(f"to be mended: {', '.join(wrong)}; see the remedies above")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
