"""Build a vocabulary from posts: hashtags merge when WordNet gives them equal sets of synsets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pretrain.posts.arguments import add_post_arguments, columns
from pretrain.workers.arguments import add_worker_arguments
from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_post_arguments(parser)
    kinds = ("in1k", "wordnet", "frequent")
    parser.add_argument("--kind", required=True, choices=kinds, help="which meanings to take")
    parser.add_argument("--size", type=int, help="keep the N most frequent classes (frequent: 8500)")
    parser.add_argument(
        "--min-count", type=int, default=1, help="least number of posts a class has (default: 1)"
    )
    parser.add_argument("--no-morphology", action="store_true", help="take lemmas only, no plurals")
    parser.add_argument("--exclude", metavar="FILE", help="hashtags to leave out, one a line")
    parser.add_argument("--synonyms", metavar="FILE", help="lines 'hashtag TAB WordNet noun that it means'")
    parser.add_argument(
        "--languages", nargs="+", metavar="CODE", help="read nouns of these too, from nltk (fra ita por ...)"
    )
    parser.add_argument(
        "--wordnet",
        choices=("shipped", "nltk"),
        default="shipped",
        help="nltk: take your own copy of WordNet 3.0, which must equal the shipped one",
    )
    parser.add_argument(
        "--extend", metavar="OLD.json", help="keep this vocabulary's ids and append new classes"
    )
    add_worker_arguments(parser, "count")
    parser.add_argument("--output", required=True, metavar="vocab.json")
    pages = parser.add_mutually_exclusive_group()
    pages.add_argument("--audit", metavar="FILE", help="page to read (default: --output with .html)")
    pages.add_argument("--no-audit", action="store_true", help="write no page")
    parser.add_argument(
        "--truth", metavar="FILE", help="jsonl with id and wnid: prints precision and recall of the labels"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from pretrain.vocabulary import classes as vocabulary
    from pretrain.vocabulary import job as vocabulary_job
    from pretrain.vocabulary import user_lists

    job = vocabulary_job.Job(
        posts=args.posts,
        columns=columns(args),
        rules=user_lists.rules(not args.no_morphology, args.exclude, args.synonyms, args.languages or ()),
        selection=vocabulary_job.Selection(args.kind, args.size, args.min_count),
        output=args.output,
        audit=None if args.no_audit else vocabulary_job.page_beside(args.output, args.audit),
        truth=args.truth,
        own_wordnet=args.wordnet == "nltk",
    )
    old = vocabulary.read(args.extend) if args.extend else None
    print("\n".join(vocabulary_job.run(job, old=old, workers=args.workers, scheduler=args.scheduler)))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
