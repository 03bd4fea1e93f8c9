"""Build a vocabulary from posts: hashtags merge when WordNet gives them equal sets of synsets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--posts", nargs="+", required=True, metavar="FILE", help="posts, one JSON object per line"
    )
    parser.add_argument(
        "--kind", required=True, choices=("in1k", "wordnet", "frequent"), help="which meanings to take"
    )
    parser.add_argument("--size", type=int, help="keep the N most frequent classes (frequent: 8500)")
    parser.add_argument(
        "--min-count", type=int, default=1, help="least number of posts a class has (default: 1)"
    )
    parser.add_argument("--no-morphology", action="store_true", help="take lemmas only, no plurals")
    parser.add_argument(
        "--extend", metavar="OLD.json", help="keep this vocabulary's ids and append new classes"
    )
    parser.add_argument("--output", required=True, metavar="vocab.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from pretrain import hashtags, posts, vocabulary, vocabulary_builder

    selection = vocabulary_builder.Selection(args.kind, args.size, args.min_count)
    rules = hashtags.Rules(morphology=not args.no_morphology)
    old = vocabulary.read(args.extend) if args.extend else None
    built, tally, ledger = vocabulary_builder.build(args.posts, posts.Columns(), rules, selection, old=old)
    built.write(args.output)
    print("\n".join([*ledger.summary(), vocabulary_builder.describe(built, tally, args.output)]))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
