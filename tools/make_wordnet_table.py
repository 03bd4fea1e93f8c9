"""Write the WordNet table the package ships; needs nltk's 'wordnet' corpus (3.0) and timm."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--output", default="pretrain/vocabulary/data", help="folder to write (default: %(default)s)")


def run(args: Namespace) -> None:
    from pretrain.vocabulary import wordnet_table

    counts = wordnet_table.write(args.output)
    print(f"{args.output}: " + ", ".join(f"{value:,} {what}" for what, value in counts.items()))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
