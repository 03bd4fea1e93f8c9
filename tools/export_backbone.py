"""Turn pretrained weights into a backbone artifact for the detector, with a certificate beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wsl_det import errors


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="export_backbone", description=__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a pretraining run's folder; a torchvision, timm or WSL .pth or .safetensors; a Detectron2 .pkl",
    )
    parser.add_argument(
        "output", metavar="OUTPUT.pth", help="the backbone; its certificate becomes OUTPUT.json"
    )
    parser.add_argument(
        "--expect",
        metavar="NAME",
        help="a model name the tensors must agree with, such as resnext101_32x8d; "
        "default: the name of the file; 'any' asks nothing",
    )
    parser.add_argument(
        "--convention",
        choices=("torchvision", "msra", "fair"),
        help="which pixels and strides the weights want, when the file does not say it",
    )
    parser.add_argument(
        "--bn-folded", action="store_true", help="absent BN statistics are known to be folded into the affine"
    )
    parser.add_argument(
        "--wrapper", help="the entry of the file that holds the trunk, when there are several"
    )
    parser.add_argument("--prefix", help="the start of the trunk's keys, when there are several trunks")
    parser.add_argument("--licence", help="name of the weights' licence, for the certificate")
    parser.add_argument("--licence-url", help="address of its text")
    parser.add_argument("--training-data", help="what the weights were trained on")
    parser.add_argument("--fine-tuned-on-in1k", choices=("yes", "no"), help="whether IN-1k labels were used")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from wsl_det.backbone import export, sources

    source = sources.read(
        args.source,
        expect=args.expect,
        convention=args.convention,
        bn_folded=args.bn_folded,
        wrapper=args.wrapper,
        prefix=args.prefix,
    )
    facts = export.Facts(args.licence, args.licence_url, args.training_data, args.fine_tuned_on_in1k)
    print(export.describe(*export.export(source, args.output, facts)))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
