"""Decode a product-quantised ResNet (centroids, assignments, n_blocks) into a torchvision-named .pth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="decode_quantised", description=__doc__)
    parser.add_argument(
        "source", metavar="SOURCE.pth", help="the quantised model (killthebits, 'large' or 'small' blocks)"
    )
    parser.add_argument("output", metavar="OUTPUT.pth", help="the state dict, trunk and fc, ready for export")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from wsl_det.backbone import quantised

    weights = quantised.decode_file(args.source, args.output)
    print(f"{args.output}: {len(weights)} tensors; batch norms are folded, so use the trunk frozen only")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
