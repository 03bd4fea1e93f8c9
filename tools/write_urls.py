"""Write the list of URLs that img2dataset downloads, from posts whose images are URLs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pretrain.posts.arguments import add_post_arguments, columns
from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; needs nothing heavy, so that --help answers at once."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Name the column of URLs with --image-column; ids and hashtags go along."
    )
    add_post_arguments(parser)
    parser.add_argument(
        "--output", required=True, metavar="FILE", help=".parquet, .csv, .tsv, .jsonl, or .txt (URLs alone)"
    )
    parser.add_argument("--vocab", metavar="vocab.json", help="only posts with a hashtag of this vocabulary")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list and print the command that downloads it."""
    args = parse_args(argv)
    from pretrain.shards import url_list

    print(url_list.write(args.posts, columns(args), args.output, vocab_path=args.vocab))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
