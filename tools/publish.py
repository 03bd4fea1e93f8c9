"""Publish a trunk on Hugging Face's hub: weights that timm builds, its certificate, a card from records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from wsl_det.core.arguments import Tool


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a pretraining run, a backbone, or what export_backbone takes")
    add("name", metavar="hf-hub:ORG/NAME", help="the repository, made when there is none")
    add("--dry-run", action="store_true", help="write the folder --output and publish nothing")
    add("--output", metavar="DIR", help="with --dry-run: a new folder (default: NAME)")
    add("--private", action="store_true", help="make the repository a private one")
    add("--licence", help="name of the weights' licence, where no record says it")
    add("--licence-url", help="address of its text")
    add("--training-data", help="what the weights were trained on, where no record says it")
    add("--fine-tuned-on-in1k", choices=("yes", "no"), help="whether IN-1k labels were used")
    add("--intended-use", help="what the model is meant for, in the card's words")
    add("--gain", metavar="gain.json", help="the report of a detector with this trunk, by report_gain")


def run(args: Namespace) -> None:
    from wsl_det.backbone import export
    from wsl_det.core import files, log
    from wsl_det.errors import ConfigError
    from wsl_det.zoo import publish, resolve

    log.setup()
    name = publish.repository(args.name)
    target = Path(args.output or name.partition("/")[2])
    if args.dry_run and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(f"{target} already holds something; choose another --output")
    said = export.Facts(args.licence, args.licence_url, args.training_data, args.fine_tuned_on_in1k)
    source, facts = resolve.source(args.source)
    told = publish.Told(said.over(facts), args.intended_use or publish.Told.use, args.gain)
    beside = source.path.with_name("results.json")
    results = files.read_json(beside, "results") if beside.is_file() else None
    with ExitStack() as stack:
        folder = stack.enter_context(files.atomic_dir(target) if args.dry_run else TemporaryDirectory())
        made = publish.write(source, name, Path(folder), told, results)
        where = None if args.dry_run else publish.upload(Path(folder), name, args.private)
    print(f"published {made}: {where}" if where else f"wrote {target}: {made}; nothing was published")


main = Tool(__doc__, options, run, by_address={"licence_url", "licence", "training_data", "intended_use"})
if __name__ == "__main__":
    main.leave()
