"""Build a vocabulary from posts: hashtags merge when WordNet gives them equal sets of synsets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pretrain.posts.records import add_post_arguments, asked_columns
from pretrain.workers.mapping import add_worker_arguments
from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add_post_arguments(parser)
    kinds = ("in1k", "wordnet", "frequent")
    add("--kind", required=True, choices=kinds, help="which meanings to take")
    add("--size", type=int, help="keep the N most frequent classes (frequent: 8500)")
    add("--min-count", type=int, default=1, help="least number of posts a class has (default: 1)")
    add("--no-morphology", action="store_true", help="take lemmas only, no plurals")
    add("--exclude", metavar="FILE", help="hashtags to leave out, one a line")
    add("--synonyms", metavar="FILE", help="lines 'hashtag TAB WordNet noun that it means'")
    add("--languages", nargs="+", metavar="CODE", help="read nouns of these too, from nltk (fra ita por ...)")
    add(
        "--wordnet",
        choices=("shipped", "nltk"),
        default="shipped",
        help="nltk: take your own copy of WordNet 3.0, which must equal the shipped one",
    )
    add("--extend", metavar="OLD.json", help="keep this vocabulary's ids and append new classes")
    add_worker_arguments(parser, "count")
    add("--output", required=True, metavar="vocab.json")
    pages = parser.add_mutually_exclusive_group()
    pages.add_argument("--audit", metavar="FILE", help="page to read (default: --output with .html)")
    pages.add_argument("--no-audit", action="store_true", help="write no page")
    add("--truth", metavar="FILE", help="jsonl with id and wnid: prints precision and recall of the labels")


def run(args: Namespace) -> None:
    from pretrain.vocabulary import classes as vocabulary
    from pretrain.vocabulary import job as vocabulary_job
    from pretrain.vocabulary import user_lists

    job = vocabulary_job.Job(
        posts=args.posts,
        columns=asked_columns(args),
        rules=user_lists.rules(not args.no_morphology, args.exclude, args.synonyms, args.languages or ()),
        selection=vocabulary_job.Selection(args.kind, args.size, args.min_count),
        output=args.output,
        audit=None if args.no_audit else vocabulary_job.page_beside(args.output, args.audit),
        truth=args.truth,
        own_wordnet=args.wordnet == "nltk",
    )
    old = vocabulary.read(args.extend) if args.extend else None
    print("\n".join(vocabulary_job.run(job, old=old, workers=args.workers, scheduler=args.scheduler)))


main = Tool(__doc__, options, run, by_address={"posts"})
if __name__ == "__main__":
    main.leave()
