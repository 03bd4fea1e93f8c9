"""Does the gain report find what was planted, and do its intervals cover? Simulated detectors, known truth.

python benchmarks/bench_gain.py                     planted causes: recovered against planted
python benchmarks/bench_gain.py --calibrate 400     coverage of the 95% intervals of the gain in AP
python benchmarks/bench_gain.py --calibrate 400 --runs 3
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from wsl_det.core import log
from wsl_det.evaluation import matching, metrics
from wsl_det.gain import attribution, comparison, factors, measures, mends, resamples, side, simulation
from wsl_det.gain.simulation import Detector

REGIMES = {
    "tight": Detector(),
    "tight, score follows IoU": Detector(follows_iou=4.0),
    "loose": Detector(box_noise=0.12),
    "very loose": Detector(box_noise=0.2),
}
CAUSES = {
    "classification": {"class_error": 0.08},
    "localization": {"box_noise": 0.85},
    "missed": {"missed": 0.12},
    "background": {"background": 1.5},
    "duplicate": {"duplicates": 0.05},
    "ranking": {"ranking": 1.8},
    "class + box": {"class_error": 0.08, "box_noise": 0.85},
    "missed + background": {"missed": 0.12, "background": 1.5},
}


def planted(images: int) -> None:
    head = f"{'regime':26s}{'planted':22s}{'AP':>6s}{'gain':>7s}"
    print(
        head
        + "".join(f"{kind[:10]:>11s}" for kind in comparison.SHOWN_KINDS)
        + "   recognition/localization at .1"
    )
    scene = simulation.world(images=images, classes=12, seed=1)
    ones = np.ones((images, 1), dtype=np.uint8)

    def run(detector: Detector) -> tuple[metrics.Measures, np.ndarray]:
        shapes = matching.object_shapes(scene.truth, "bbox")
        one = side.build([simulation.detect(scene, detector)], scene.truth, shapes, "bbox")
        return metrics.measure(one.tables[0]), mends.values(one.pairs[0], ones)

    for regime, base in REGIMES.items():
        a, values_a = run(base)
        for name, cause in CAUSES.items():
            change = {k: v * base.box_noise if k == "box_noise" else v for k, v in cause.items()}
            b, values_b = run(replace(base, **change))
            shares = dict(zip(mends.KINDS, attribution.shares(values_a, values_b)[:, 0], strict=True))
            two = factors.two_factors(a.metrics["AP"], a.by_iou[0], b.metrics["AP"], b.by_iou[0])
            gain = float(values_b[0, 0] - values_a[0, 0])
            row = "".join(f"{shares[kind]:11.2f}" for kind in comparison.SHOWN_KINDS)
            print(f"{regime:26s}{name:22s}{values_a[0, 0]:6.1f}{gain:7.2f}{row}", end="")
            print(f"   {two[0][0]:6.2f} / {two[1][0]:5.2f}")


def calibrate(sets: int, runs: int, images: int, bootstrap: int) -> None:
    """Coverage for a zero gain and a real one; the truth is the mean gain over all test sets and runs."""
    for name, better in (("zero gain", Detector()), ("class errors .15 -> .10", Detector(class_error=0.10))):
        points, intervals = [], []
        for i in log.progress(range(sets), what=name):
            scene = simulation.world(images=images, classes=8, seed=1000 + i)
            shapes = matching.object_shapes(scene.truth, "bbox")
            sides = [
                side.build(
                    [simulation.detect(scene, d, luck=10_000 * i + 100 * s + r) for r in range(runs)],
                    scene.truth, shapes, "bbox",
                )
                for s, d in enumerate((Detector(), better))
            ]  # fmt: skip
            weights = resamples.multiplicities(images, bootstrap, i)
            pair = comparison.Pair(*(side.scores(one, weights, measures.quiet) for one in sides))
            row = measures.Layout(sides[0].tables[0]).metrics["AP"]
            gain = pair.estimate(lambda a, b, row=row: (b - a)[[row]])[0]
            points.append(gain.point)
            intervals.append(gain.interval)
        truth = 0.0 if name == "zero gain" else float(np.mean(points))
        low, high = np.array(intervals).T
        covered = (low <= truth) & (truth <= high)
        print(
            f"{name}: {runs} run(s) a side, {sets} sets of {images} images, true gain {truth:.2f}: "
            f"covered {100 * covered.mean():.1f}% +- {100 * covered.std() / np.sqrt(sets):.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=None, help="default 1500 for causes, 300 for calibration"
    )
    parser.add_argument("--calibrate", type=int, metavar="SETS")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--bootstrap", type=int, default=300)
    args = parser.parse_args()
    if args.calibrate:
        calibrate(args.calibrate, args.runs, args.images or 300, args.bootstrap)
    else:
        planted(args.images or 1500)


if __name__ == "__main__":
    main()
