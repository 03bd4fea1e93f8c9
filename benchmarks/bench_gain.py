"""Does the gain report find what was planted, and do its intervals cover? Simulated detectors, known truth.

python benchmarks/bench_gain.py                     planted causes: recovered against planted
python benchmarks/bench_gain.py --calibrate 400     coverage of the 95% intervals, 1 to 5 runs a side
python benchmarks/bench_gain.py --calibrate 200 --level attribution --runs 1 2     the kinds of error
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det.core import log
from wsl_det.core import seed as seeds
from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation import matching, metrics
from wsl_det.evaluation.match_table import FIRST_COCO
from wsl_det.gain import attribution, comparison, factors, mends, resamples, side
from wsl_det.predictions import Predictions

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

CASES = {
    "zero gain": {},
    "class errors .15 -> .10": {"class_error": 0.10},
    "box noise x 0.9": {"box_noise": 0.054},
}
RUNS = (1, 2, 3, 5)
SPREAD, FRESH = 0.12, 0.3
"""Of several runs: log standard deviation of their class errors, and the share of draws not in common."""


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


def run_of(base: Detector, chance: float) -> Detector:
    """What a training seed makes of a detector: ``chance`` is standard normal."""
    return replace(base, class_error=base.class_error * float(np.exp(SPREAD * chance)))


def scored(scene: simulation.World, found: Predictions, weights: np.ndarray) -> np.ndarray:
    """(3, B) AP, AP50 and AP@0.1 in percent; the part of ``measures.columns`` that the intervals need."""
    table = matching.match(found, scene.truth, "bbox")
    objects = ap.positives(
        table.object_image, table.object_class, table.counts[0], weights, table.num_classes
    )
    by_class = ap.precision(table.class_starts, table.image, table.status[0], weights, objects)
    by_iou = 100 * ap.mean_over_classes(by_class, 1)
    return np.stack([by_iou[FIRST_COCO:].mean(axis=0), by_iou[FIRST_COCO], by_iou[0]])


def gains(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(4, B) gain in AP and AP50, recognition and localization of two sides."""
    return np.stack([b[0] - a[0], b[1] - a[1], *factors.two_factors(a[0], a[2], b[0], b[2])])


def mended(scene: simulation.World, found: Predictions, weights: np.ndarray) -> np.ndarray:
    """(17, B) AP in percent after each of ``mends.SUBSETS``."""
    shapes = matching.object_shapes(scene.truth, "bbox")
    return mends.values(side.build([found], scene.truth, shapes, "bbox").pairs[0], weights)


@dataclass(frozen=True)
class Level:
    """Numbers whose intervals are tried: their names, what a detector scores, what two sides make of it."""

    numbers: tuple[str, ...]
    scored: Callable[[simulation.World, Predictions, np.ndarray], np.ndarray]
    gains: Callable[[np.ndarray, np.ndarray], np.ndarray]
    normal: bool
    bootstrap: int


LEVELS = {
    "factors": Level(("AP", "AP50", "recognition", "localization"), scored, gains, False, 400),
    "attribution": Level(mends.KINDS, mended, attribution.shares, True, 200),
}


def population(
    level: Level, frequency: np.ndarray, images: int, detector: Detector, *, runs: int
) -> np.ndarray:
    """(S,) what ``level`` scores over many images, averaged over the seeds that the runs are drawn from."""
    scene = simulation.world(images=images, classes=len(frequency), seed=77, frequency=frequency)
    # Midpoints of equal shares of the normal distribution; one of them is its middle, a run without chance.
    chances = [NormalDist().inv_cdf((i + 0.5) / runs) for i in range(runs)]
    ones = np.ones((images, 1), dtype=np.uint8)
    return np.mean(
        [level.scored(scene, simulation.detect(scene, run_of(detector, c)), ones)[:, 0] for c in chances], 0
    )


def _runs(
    level: Level,
    scene: simulation.World,
    sides: dict[str, Detector],
    weights: np.ndarray,
    place: int,
    number: int,
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each side its runs: (plain numbers (S,), numbers under resamples (S, B))."""
    both = np.concatenate([np.ones((len(weights), 1), dtype=np.uint8), weights], axis=1)
    rng = seeds.numpy_generator("calibration runs", place, number)
    drawn: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, detector in sides.items():
        drawn[name] = []
        for _ in range(number):
            chance, luck = rng.standard_normal(), int(rng.integers(2**62))
            if number == 1:
                found = simulation.detect(scene, detector, luck=luck)
            else:
                found = simulation.detect(scene, run_of(detector, chance), luck=luck, fresh=FRESH)
            values = level.scored(scene, found, both)
            drawn[name].append((values[:, 0], values[:, 1:]))
    return drawn


def _side(runs: list[tuple[np.ndarray, np.ndarray]]) -> side.Numbers:
    return side.Numbers(np.stack([plain for plain, _ in runs]), np.stack([many for _, many in runs]))


def calibrate(
    sets: int,
    images: int,
    runs: Sequence[int],
    level: Level = LEVELS["factors"],
    *,
    bootstrap: int | None = None,
    whole: int = 20_000,
) -> list[dict[str, Any]]:
    """Coverage of the 95% intervals over test sets of one population, known from ``whole`` images of it.

    One run a side: its interval speaks of the choice of images. Several: each run is a detector of its own
    (``SPREAD``) with a share of its own chances (``FRESH``), and the truth is the mean over such detectors.
    """
    frequency = seeds.numpy_generator("calibration").dirichlet(np.full(8, 2.0))
    sides = {"baseline": Detector()} | {name: replace(Detector(), **change) for name, change in CASES.items()}
    truth = {
        many: {
            name: population(level, frequency, whole, d, runs=9 if many else 1) for name, d in sides.items()
        }
        for many in {k > 1 for k in runs}
    }
    covered = {(name, k): np.zeros((sets, len(level.numbers)), dtype=bool) for name in CASES for k in runs}
    widths = {key: np.zeros((sets, len(level.numbers))) for key in covered}
    for i in log.progress(range(sets), sets, "test sets"):
        scene = simulation.world(images=images, classes=8, seed=1000 + i, frequency=frequency)
        weights = resamples.multiplicities(images, bootstrap or level.bootstrap, i)
        drawn = {many: _runs(level, scene, sides, weights, i, max(runs) if many else 1) for many in truth}
        for (name, k), hit in covered.items():
            pair = comparison.Pair(*(_side(drawn[k > 1][side][:k]) for side in ("baseline", name)), images)
            true = level.gains(*(truth[k > 1][side][:, None] for side in ("baseline", name)))[:, 0]
            for j, estimate in enumerate(pair.estimate(level.gains, normal=level.normal)):
                low, high = estimate.interval
                hit[i, j] = low <= true[j] <= high
                widths[name, k][i, j] = high - low
    rows = []
    for (name, k), hit in covered.items():
        true = level.gains(*(truth[k > 1][side][:, None] for side in ("baseline", name)))[:, 0]
        for j, what in enumerate(level.numbers):
            rate = float(hit[:, j].mean())
            rows.append(
                {
                    "case": name,
                    "runs": k,
                    "number": what,
                    "truth": float(true[j]),
                    "coverage": 100 * rate,
                    "error": 100 * float(np.sqrt(rate * (1 - rate) / sets)),
                    "width": float(widths[name, k][:, j].mean()),
                }
            )
    return rows


def show(rows: list[dict[str, Any]], sets: int, images: int) -> None:
    print(f"{sets} test sets of {images} images: coverage of the 95% intervals, %, +- its standard error")
    print(f"{'case':26s}{'runs':>5s}  {'number':14s}{'truth':>8s}{'coverage':>10s}{'':8s}{'mean width':>10s}")
    for row in rows:
        print(
            f"{row['case']:26s}{row['runs']:5d}  {row['number']:14s}{row['truth']:8.2f}"
            f"{row['coverage']:10.1f} +- {row['error']:3.1f} {row['width']:10.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=None, help="default 1500 for causes, 300 for calibration"
    )
    parser.add_argument("--calibrate", type=int, metavar="SETS", help="coverage over so many test sets")
    parser.add_argument(
        "--runs", type=int, nargs="+", default=list(RUNS), help="runs a side (default %(default)s)"
    )
    parser.add_argument("--level", choices=LEVELS, default="factors", help="whose intervals to calibrate")
    parser.add_argument(
        "--bootstrap", type=int, help="resamples (default 400 for factors, 200 for attribution)"
    )
    args = parser.parse_args()
    if args.calibrate:
        images = args.images or 300
        rows = calibrate(args.calibrate, images, args.runs, LEVELS[args.level], bootstrap=args.bootstrap)
        show(rows, args.calibrate, images)
    else:
        planted(args.images or 1500)


if __name__ == "__main__":
    main()
