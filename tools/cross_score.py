"""Score each of two detectors' boxes by each one's head: recognition against localization by experiment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from wsl_det.core.arguments import Tool, add_protocol_arg

_NOTES = """\
CONFIG and WEIGHTS are a detector's config file (config.yaml of its run, say) and its model_final.pth, from
either engine: Detectron2's checkpoints load exactly, zoo://NAME stands for a published one. The embedded
engine computes all four cells.
KEY VALUE pairs go on top of both configs, such as MODEL.DEVICE cpu."""


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = _NOTES
    parser.formatter_class = RawDescriptionHelpFormatter
    pair = {"nargs": 2, "required": True, "metavar": ("CONFIG", "WEIGHTS")}
    add("--baseline", **pair)
    add("--candidate", **pair)
    add("--dataset", required=True, metavar="NAME", help="built-in, or given by --register")
    add("--register", nargs=3, action="append", default=[], metavar=("NAME", "JSON", "IMAGE_DIR"))
    add("--output", required=True, metavar="DIR", help="cross.json, cross.html, predictions")
    add("--bootstrap", type=int, default=1000, help="image resamples (default %(default)s)")
    add("--seed", type=int, default=0, help="of the resamples (default %(default)s)")
    add_protocol_arg(parser)
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys for both detectors")


def run(args: Namespace) -> None:
    from pathlib import Path

    from wsl_det.core import config, log
    from wsl_det.detector import cross_score, datasets, defaults
    from wsl_det.gain import cross_page, cross_table, inputs
    from wsl_det.zoo import resolve

    log.setup()
    options = cross_table.Options(args.bootstrap, args.seed)
    detectors = [
        cross_score.Detector(
            name, config.load(config.config_path(path), defaults.TREE, args.opts), resolve.weights(weights)
        )
        for name, (path, weights) in (("baseline", args.baseline), ("candidate", args.candidate))
    ]
    output = Path(args.output)
    known = datasets.registered(args.register)
    inputs.ground_truth(datasets.locate(args.dataset, known)[0], args.protocol)  # before all is detected
    gt, cells = cross_score.run(detectors, args.dataset, known, output)
    content = cross_table.make(gt, cells, ("baseline", "candidate"), options, args.protocol)
    page = cross_table.write(content, output, cross_page.render(content))
    print("\n".join([*cross_table.lines(content), f"written: {page}"]))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
