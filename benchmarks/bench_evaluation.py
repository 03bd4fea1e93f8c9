"""COCO evaluation side by side on one generated set: pycocotools, faster-coco-eval, hotcoco and ours.

    python benchmarks/bench_evaluation.py [--only NAME ...] [--masks] [--images 5000] [--few] [--report]

Each evaluator runs in a fresh process that reads both files itself; wall time counts from the first
line of work after its imports, peak memory is the process's. Evaluators that are not installed are
left out by name. --report times the gain card (both sides) as well. --whole times whole processes, as a
user starts them, in turn: evaluate_predictions.py, which writes results.json, beside --only hotcoco.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
CODE = {
    "pycocotools": "from pycocotools.coco import COCO; from pycocotools.cocoeval import COCOeval",
    "faster-coco-eval": "from faster_coco_eval import COCO, COCOeval_faster as COCOeval",
    "hotcoco": "from hotcoco import COCO, COCOeval",
}
RUN_COCO = """
import time, json, resource, io, contextlib, sys
{imports}
start, cpu = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    gt = COCO(sys.argv[1]); dt = gt.loadRes(sys.argv[2]); e = COCOeval(gt, dt, sys.argv[3])
    e.evaluate(); e.accumulate(); e.summarize()
seconds = time.perf_counter() - start
stats = [float(x) for x in e.stats[:12]]
"""
RUN_OURS = """
import time, json, resource, sys
from wsl_det.evaluation import evaluate
evaluate({"images": [{"id": 1, "height": 9, "width": 9}], "annotations": [],
          "categories": [{"id": 1, "name": "a"}]},
         [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1,
           "segmentation": {"size": [9, 9], "counts": [81]}}], [sys.argv[3]])
start, cpu = time.perf_counter(), time.process_time()
r = evaluate(sys.argv[1], sys.argv[2], [sys.argv[3]])[sys.argv[3]]
seconds = time.perf_counter() - start
names = "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()
stats = [-1.0 if r[n] is None else r[n] / 100 for n in names]
"""
PRINT = """
# Not ru_maxrss: a child inherits that of the process it was forked from.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "peak_mb": peak, "stats": stats}))
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/wsl_det_bench"), help="where the set is made"
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument(
        "--masks",
        action="store_true",
        help="masks (RLE) in place of boxes; --images 500 is a tenth of the set",
    )
    parser.add_argument("--few", action="store_true", help="10 detections an image in place of some 49")
    parser.add_argument("--only", nargs="+", default=["pycocotools", "faster-coco-eval", "hotcoco", "ours"])
    parser.add_argument("--report", action="store_true", help="time tools/report_gain.py on both sides too")
    parser.add_argument("--whole", type=int, metavar="PAIRS", help="whole processes, in turn")
    return parser.parse_args()


def make(folder: Path, images: int, masks: bool, few: bool) -> tuple[Path, Path, Path]:
    """Annotations and two detectors: per image about 7.2 objects and 49 (few: 10) detections, 80 classes."""
    tag = f"{images}{'m' if masks else ''}{'few' if few else ''}"
    paths = (folder / f"gt{tag}.json", folder / f"a{tag}.json", folder / f"b{tag}.json")
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(ROOT))
    from benchmarks import simulation

    background = 4.0 if few else 62.0
    scene = simulation.world(images=images, classes=80, seed=0, objects=7.2, background=background)
    base = simulation.Detector(box_noise=0.06, background=0.9 * background, follows_iou=3.0, ranking=2.5)
    better = simulation.Detector(
        box_noise=0.055, background=0.87 * background, follows_iou=3.0, ranking=2.5, class_error=0.12
    )
    rng = np.random.default_rng(0)
    for path, detector in zip(paths[1:], (base, better), strict=True):
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        for row in results:
            row["bbox"] = [round(x, 2) for x in row["bbox"]]
        if masks:
            for row in results:
                row["segmentation"] = octagon_rle(row.pop("bbox"))
        path.write_text(json.dumps(results))
    for annotation in truth["annotations"]:
        if masks:
            annotation["segmentation"] = [octagon(annotation["bbox"])]
        annotation["iscrowd"] = 0 if masks else int(rng.random() < 0.012)
    paths[0].write_text(json.dumps(truth))
    return paths


def octagon(box: list[float]) -> list[float]:
    """A polygon that fills most of a box."""
    x, y, w, h = box
    a, b = w * 0.3, h * 0.3
    return [
        x + a,
        y,
        x + w - a,
        y,
        x + w,
        y + b,
        x + w,
        y + h - b,
        x + w - a,
        y + h,
        x + a,
        y + h,
        x,
        y + h - b,
        x,
        y + b,
    ]


def octagon_rle(box: list[float]) -> dict[str, object]:
    """The same, as COCO's run lengths."""
    from pycocotools import mask

    rle = mask.frPyObjects([octagon(box)], 480, 640)[0]
    return {"size": [480, 640], "counts": rle["counts"].decode()}


def measure(name: str, gt: Path, predictions: Path, iou_type: str) -> dict[str, object] | None:
    code = (RUN_OURS if name == "ours" else RUN_COCO.replace("{imports}", CODE[name])) + PRINT
    done = subprocess.run(
        [sys.executable, "-c", code, str(gt), str(predictions), iou_type],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        print(f"{name:18s} left out: {reason}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def whole(command: Sequence[object]) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MB) of a command from its start to its end."""
    start = time.perf_counter()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare_whole(peer: str, gt: Path, predictions: Path, iou_type: str, pairs: int) -> None:
    """Print medians over the pairs, and of the ratios within a pair."""
    theirs = [sys.executable, "-c", RUN_COCO.replace("{imports}", CODE[peer]), gt, predictions, iou_type]
    ours = [sys.executable, "tools/evaluate_predictions.py", "--gt", gt, "--predictions", predictions]
    ours += ["--output", gt.parent / "results.json"]
    runs = [(whole(ours), whole(theirs)) for _ in range(pairs + 1)][1:]  # the first warms the caches
    for i, what in enumerate(("wall s", "CPU s", "peak MB")):
        one, other = ([run[side][i] for run in runs] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(one, other, strict=True))
        medians = f"ours {statistics.median(one):.2f}, {peer} {statistics.median(other):.2f}"
        print(f"whole process, {what}: {medians}, ratio {ratio:.2f}")


def main() -> None:
    args = parse_args()
    gt, a, b = make(args.folder, args.images, args.masks, args.few)
    iou_type = "segm" if args.masks else "bbox"
    size = {path.name: f"{path.stat().st_size / 2**20:.0f} MB" for path in (gt, a)}
    print(f"{args.images} images, {len(json.loads(a.read_text()))} detections, {iou_type}, files {size}")
    if args.whole:
        compare_whole(args.only[0], gt, a, iou_type, args.whole)
        return
    first = None
    for name in args.only:
        run = measure(name, gt, a, iou_type)
        if run is None:
            continue
        first = first or run["stats"]
        gap = max(abs(x - y) for x, y in zip(first, run["stats"], strict=True))
        times = f"{run['seconds']:7.2f} s ({run['cpu']:.2f} s of CPU)"
        print(
            f"{name:18s} {times}   peak {run['peak_mb']:5.0f} MB   AP {run['stats'][0]:.6f}   gap {gap:.1e}"
        )
    if args.report:
        for extra in (["--attribution-bootstrap", "0"], []):
            command = [sys.executable, "tools/report_gain.py", "--gt", gt, "--baseline", a, "--candidate", b]
            command += ["--output", args.folder / "report", *extra]
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [str(word) for word in command], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
            )
            seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            what = "without the attribution" if extra else "whole card"
            print(f"gain report, both sides, {what}: {seconds:.1f} s ({cpu:.1f} s of CPU)")


if __name__ == "__main__":
    main()
