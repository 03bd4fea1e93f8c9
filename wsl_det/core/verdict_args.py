"""Command-line options that say how test images seen in training are treated; shared by the tools."""

from __future__ import annotations

import argparse

MODES = ("exclude", "wrong")


def add_verdict_args(parser: argparse.ArgumentParser) -> None:
    """Add ``--verdicts`` and ``--duplicates``."""
    parser.add_argument("--verdicts", metavar="V.json", help="duplicates, as judged on review.html")
    parser.add_argument(
        "--duplicates",
        choices=MODES,
        help="leave duplicate test images out, or count every answer on them as an error (a lower bound)",
    )
