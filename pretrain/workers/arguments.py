"""Command-line options that say who does the work of a map over files; shared by the tools."""

from __future__ import annotations

import argparse

# What these options say decides nothing about the output, so its header leaves them out.
FREE = ("--workers", "--scheduler")


def add_worker_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --workers and --scheduler; ``what`` the processes do, for the help."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--workers", type=int, help=f"processes that {what} (default: every core)")
    group.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="a Dask scheduler whose workers do it instead; they must see the same files",
    )
