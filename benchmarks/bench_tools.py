"""Start-up of every tool, and the peak memory of each on a small standard job.

    python benchmarks/bench_tools.py [--rounds 7] [--folder SCRATCH] [--only startup memory]

Start-up is CPU time of ``TOOL --help`` and of ``import wsl_det`` over that of ``python -c pass``, all in
turns (the median of the ratios within a round). The standard job is the short demo (``wsl_det.demo``):
made posts and photos through the whole pipeline, with a few steps of training; every command's time
and the peak resident memory of its largest process come from wait4.
The first failing command ends the program with 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Enough steps to have allocated everything once.
SHORT = {
    "pretrain_net": ("SOLVER.TOTAL_IMAGES", "960", "SOLVER.WARMUP_UPDATES", "5"),
    "train_net": ("SOLVER.MAX_ITER", "6", "SOLVER.STEPS", "(5,)", "SOLVER.WARMUP_ITERS", "2"),
    "report_gain": ("--bootstrap", "200", "--attribution-bootstrap", "50"),
}
WITH_WORKERS = ("make_demo_data", "build_vocab", "build_shards")


class Used(NamedTuple):
    """What a command took: CPU seconds, wall seconds, peak MB of its largest process."""

    cpu: float
    wall: float
    peak_mb: float


def used(command: Sequence[str]) -> Used:
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(
            f"{' '.join(command)}\nended with {process.returncode}:\n{complaint.decode()[-2000:]}"
        )
    return Used(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1024)


def startup(rounds: int) -> None:
    tools = {path.stem: [str(path), "--help"] for path in sorted(ROOT.glob("tools/*.py"))}
    jobs = {"python -c pass": ["-c", "pass"], "import wsl_det": ["-c", "import wsl_det"], **tools}
    taken: dict[str, list[Used]] = {name: [] for name in jobs}
    for number in range(-1, rounds):
        for name, words in jobs.items():
            one = used([sys.executable, *words])
            if number >= 0:
                taken[name].append(one)
    print("| start-up | CPU s, median | over python -c pass (least to most) | wall s, median | peak MB |")
    print("|---|---|---|---|---|")
    for name, runs in taken.items():
        ratios = [run.cpu / bare.cpu for run, bare in zip(runs, taken["python -c pass"], strict=True)]
        cpu, wall = (statistics.median(r[i] for r in runs) for i in (0, 1))
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"| `{name}` | {cpu:.3f} | {spread} | {wall:.3f} | {max(r.peak_mb for r in runs):.0f} |")


def jobs(root: Path) -> list[tuple[str, list[str]]]:
    """(tool, its command) of the short demo, one arm, and of the tools that the demo does not run."""
    from wsl_det.demo import pipeline

    made = []
    for stage in pipeline.stages(root, short=True):
        if stage.mark == "baseline" or "baseline" in stage.title:
            continue
        words = [str(root / "candidate" / "predictions.json") if "baseline/pred" in w else w
                 for w in stage.arguments]  # fmt: skip
        # One process each: memory does not depend on how many cores there are.
        workers = (
            ["--workers", "1"] if stage.tool in ("make_demo_data", "build_vocab", "build_shards") else []
        )
        made.append((stage.tool, [*words, *workers, *SHORT.get(stage.tool, ())]))
    scenes = root / "data" / "detection"
    config = ["--config-file", "configs/quick/demo_mask_rcnn.yaml"]
    weights = ["--weights", str(root / "candidate" / "model_final.pth")]
    predict = [*config, *weights, "--images", str(scenes / "val"), "--output", str(root / "predicted")]
    duplicates = ["--train", str(root / "shards"), "--against", str(scenes / "val"), "--backbone",
                  str(root / "backbone.pth"), "--output", str(root / "pairs"), "--planted", "20",
                  "--workers", "1"]  # fmt: skip
    extra = [
        ("predict", predict),
        ("find_duplicates", duplicates),
        ("describe_model", []),
        ("download_model", ["--list"]),
        ("check_env", []),
    ]
    return [*made, *extra]


def memory(root: Path) -> None:
    print("| job | CPU s | wall s | peak MB |\n|---|---|---|---|")
    for tool, words in jobs(root):
        one = used([sys.executable, str(ROOT / "tools" / f"{tool}.py"), *words])
        print(f"| `{tool}` | {one.cpu:.1f} | {one.wall:.1f} | {one.peak_mb:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where the standard job is made (default: temporary)")
    parser.add_argument("--only", nargs="+", choices=("startup", "memory"), default=["startup", "memory"])
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    if "startup" in args.only:
        startup(args.rounds)
    if "memory" in args.only:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            memory(Path(folder) / "demo")


if __name__ == "__main__":
    main()
