"""Command-line options that say where posts are and what their columns are called; shared by the tools."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pretrain.posts.records import Columns


def add_post_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --posts and the options that name columns."""
    parser.add_argument(
        "--posts",
        nargs="+",
        required=required,
        metavar="FILE",
        help="posts as .jsonl, .csv, .tsv or .parquet, plain, .gz, .bz2, .xz or .zst; globs are expanded",
    )
    add_column_arguments(parser)


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name columns."""
    group = parser.add_argument_group("columns of the posts")
    for name in ("id", "image", "caption", "hashtags"):
        group.add_argument(f"--{name}-column", default=name, metavar="NAME", help="default: %(default)s")
    group.add_argument(
        "--separator", help="what divides a list of hashtags (default: ; , or |, or else spaces)"
    )


def columns(args: argparse.Namespace) -> Columns:
    """The columns that ``add_post_arguments`` let the user name."""
    from pretrain.posts.records import Columns

    return Columns(
        args.id_column, args.image_column, args.caption_column, args.hashtags_column, args.separator or None
    )
