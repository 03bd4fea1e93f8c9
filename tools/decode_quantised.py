"""Decode a product-quantised ResNet (centroids, assignments, n_blocks) into a torchvision-named .pth."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE.pth", help="the quantised model (killthebits, 'large' or 'small' blocks)")
    add("output", metavar="OUTPUT.pth", help="the state dict, trunk and fc, ready for export")


def run(args: Namespace) -> None:
    from wsl_det.backbone import quantised

    weights = quantised.decode_file(args.source, args.output)
    print(f"{args.output}: {len(weights)} tensors; batch norms are folded, so use the trunk frozen only")


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
