"""Write the list of URLs that img2dataset downloads, from posts whose images are URLs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pretrain.posts.records import add_post_arguments, asked_columns
from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = "Name the column of URLs with --image-column; ids and hashtags go along."
    add_post_arguments(parser)
    add("--output", required=True, metavar="FILE", help=".parquet, .csv, .tsv, .jsonl, or .txt (URLs alone)")
    add("--vocab", metavar="vocab.json", help="only posts with a hashtag of this vocabulary")


def run(args: Namespace) -> None:
    from pretrain.shards import url_list

    print(url_list.write(args.posts, asked_columns(args), args.output, vocab_path=args.vocab))


main = Tool(__doc__, options, run, by_address={"posts"})
if __name__ == "__main__":
    main.leave()
