"""Compare backbones fairly, from shards or weights: a rate tuned for each, several seeds, a page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from wsl_det.core.arguments import Tool

_NOTES = """\
Run it again to go on where it stopped. As array jobs: --submit slurm; or by hand: --dry-run numbers the jobs;
run those of pretraining with --job 0, 1, ..., then the sweep, then the final ones, then once without --job
for the reports. docs/studies.md has the keys; configs/quick/study_demo.yaml and study_control.yaml are
examples."""


def options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = _NOTES
    parser.formatter_class = RawDescriptionHelpFormatter
    add("study", metavar="STUDY.yaml", help="arms, learning rates, seeds and data")
    add("--measure", action="store_true", help="with --dry-run: time five steps of what has not run yet")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--job", type=int, metavar="I", help="run only job I")
    only.add_argument("--dry-run", action="store_true", help="list the jobs, how far they are, their hours")
    only.add_argument("--submit", choices=("slurm",), help="as array jobs that wait for each other")


def run(args: Namespace) -> None:
    from pretrain.training import defaults as pretraining
    from wsl_det.core import config, log, processes
    from wsl_det.detector import datasets, defaults
    from wsl_det.study import estimate, run, slurm

    log.setup()
    if not (args.dry_run or args.submit):
        processes.refuse_strangers()
    path = config.config_path(args.study)
    known = (path, defaults.TREE, datasets.locate)
    if args.dry_run:
        progress = run.begin(*known, pretraining=pretraining.TREE, strict=False)
        lines = estimate.dry_run(progress, measure=args.measure)
    elif args.submit:
        lines = slurm.submit(run.begin(*known, pretraining=pretraining.TREE), path)
    else:
        lines = run.run(*known, pretraining=pretraining.TREE, job=args.job)
    print("\n".join(lines))


def wrong(args: Namespace) -> str:
    return "--measure goes with --dry-run" if args.measure and not args.dry_run else ""


main = Tool(__doc__, options, run, wrong)
if __name__ == "__main__":
    main.leave()
