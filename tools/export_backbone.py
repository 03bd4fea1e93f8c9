"""Turn pretrained weights into a backbone (or another library's format) with a certificate beside it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="a pretraining run; a torchvision, timm or WSL .pth or .safetensors; "
        "a Detectron2 .pkl; zoo://NAME; timm:NAME with its tag; hf-hub:ORG/NAME",
    )
    add("output", metavar="OUTPUT.pth", help="the backbone; its certificate becomes OUTPUT.json")
    add(
        "--to",
        choices=("torchvision", "timm", "detectron2", "safetensors"),
        help="write another format: OUTPUT.pth for torchvision and timm, OUTPUT.pkl for stock Detectron2, "
        "OUTPUT.safetensors (timm's names); this tool reads all of them back",
    )
    add(
        *("--arch", "--expect"),
        dest="expect",
        metavar="NAME",
        help="a model name the tensors must agree with, such as resnext101_32x8d; "
        "default: the name of the file; 'any' asks nothing; timm:NAME keeps timm's own names, for any trunk",
    )
    add(
        "--convention",
        choices=("torchvision", "msra", "fair", "caffe2"),
        help="which pixels and strides the weights want, when the file does not say it",
    )
    add(
        "--bn-folded", action="store_true", help="absent BN statistics are known to be folded into the affine"
    )
    add("--wrapper", help="the entry of the file that holds the trunk, when there are several")
    add("--prefix", help="the start of the trunk's keys, when there are several trunks")
    add("--untrained", action="store_true", help="timm:NAME with the weights that it begins with")
    add("--seed", type=int, default=0, help="what --untrained draws them from (default: 0)")
    add("--licence", help="name of the weights' licence, for the certificate")
    add("--licence-url", help="address of its text")
    add("--training-data", help="what the weights were trained on")
    add("--fine-tuned-on-in1k", choices=("yes", "no"), help="whether IN-1k labels were used")


def run(args: Namespace) -> None:
    from wsl_det.backbone import convert, export
    from wsl_det.backbone.sources import Source
    from wsl_det.core import log
    from wsl_det.errors import ConfigError
    from wsl_det.zoo import resolve

    log.setup()

    said = export.Facts(args.licence, args.licence_url, args.training_data, args.fine_tuned_on_in1k)
    names = ("expect", "convention", "bn_folded", "wrapper", "prefix")
    options = {name: getattr(args, name) for name in ("untrained", "seed", *names)}
    source, facts = resolve.source(args.source, **options)
    if args.to:
        if not isinstance(source, Source):
            raise ConfigError(f"--to {args.to} is for ResNe(X)ts; a trunk of timm's is written as OUTPUT.pth")
        made, certified = convert.convert(source, args.output, args.to, said.over(facts))
        use = convert.usage(made, certified)
    else:
        made, certified = export.export(source, args.output, said.over(facts))
        use = export.config_lines(certified)
    print(f"{export.describe(made, certified)}\n\n{use}")


main = Tool(__doc__, options, run, by_address={"licence_url", "licence", "training_data"})
if __name__ == "__main__":
    main.leave()
