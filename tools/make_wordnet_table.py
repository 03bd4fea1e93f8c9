"""Write the WordNet table the package ships; needs nltk's 'wordnet' corpus (3.0) and timm."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", default="pretrain/vocabulary/data", help="folder to write (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from pretrain.vocabulary import wordnet_table

    counts = wordnet_table.write(args.output)
    print(f"{args.output}: " + ", ".join(f"{value:,} {what}" for what, value in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
