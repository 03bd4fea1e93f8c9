"""Train several backbones fairly: a learning rate tuned for each, several seeds, reports at the end."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from wsl_det.core.arguments import Tool

_NOTES = """\
Run it again to go on where it stopped. As array jobs: --dry-run numbers the jobs; run the sweep ones with
--job 0, 1, ..., then the final ones, then once without --job for the reports. The keys of a study file are
told in wsl_det/study/plan.py; configs/quick/study_demo.yaml is an example."""


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = _NOTES
    parser.formatter_class = RawDescriptionHelpFormatter
    add("study", metavar="STUDY.yaml", help="arms, learning rates, seeds and data")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--job", type=int, metavar="I", help="run only job I")
    only.add_argument("--dry-run", action="store_true", help="list the jobs, how far they are, their hours")


def run(args: Namespace) -> None:
    from wsl_det.core import config, log, processes
    from wsl_det.detector import datasets, defaults
    from wsl_det.study import run

    log.setup()
    study = config.config_path(args.study)
    if args.dry_run:
        lines = run.dry_run(study, defaults.TREE, datasets.locate)
    else:
        processes.refuse_strangers()
        lines = run.run(study, defaults.TREE, datasets.locate, job=args.job)
    print("\n".join(lines))


main = Tool(__doc__, options, run)
if __name__ == "__main__":
    main.leave()
