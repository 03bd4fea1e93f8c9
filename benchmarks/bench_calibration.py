"""Do the gain report's intervals cover, and is p what it says? Simulated test sets of one population.

python benchmarks/bench_calibration.py --images 100 --sets 1000 --output cal_100.jsonl    resumes
python benchmarks/bench_calibration.py --images 100 --sets 1000 --output quick.jsonl --no-attribution
python benchmarks/bench_calibration.py --show cal_*.jsonl --write      and writes what the report reads

coverage: of the 95% intervals of AP, AP50, both factors, each kind of error, classes by their images, where
the candidate is a little better in everything. type I: detectors of equal AP, good at other classes. power:
such a pair with a true gain. false discovery: 5 of 20 classes truly differ, the others by chance alone.
A line holds what was found (value, ends, truth; p), so that rules can be compared on the same sets.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import simulation
from benchmarks.simulation import Detector, World
from wsl_det.core import files, log
from wsl_det.core import seed as seeds
from wsl_det.evaluation import matching
from wsl_det.gain import comparison, measures, side
from wsl_det.gain.comparison import Options
from wsl_det.predictions import Predictions

BETTER = Detector(class_error=0.11, box_noise=0.055, missed=0.16, background=2.4, duplicates=0.22)
CLASSES, DIFFERENT = 20, 5
FREQUENCY = seeds.numpy_generator("calibration classes").dirichlet(np.full(CLASSES, 0.7))
Runs = list[Predictions]
WHOLE, WORLDS = 12_000, 4
"""Images that stand for the population, and of how many such draws the truth is the mean."""
GROUPS = ((8, 15), (16, 31), (32, 10**9))
ENOUGH = 100
FIRST = 2000
"""Seed of the first set: on those before it the rule was chosen."""
TABLE = Path(__file__).parents[1] / "wsl_det" / "gain" / "calibration.json"

SPREAD, FRESH = 0.12, 0.3
"""Of several runs: log standard deviation of their class errors, and the share of draws not in common."""


def compare(scene: World, a: Runs, b: Runs, options: Options) -> dict[str, Any]:
    shapes = matching.object_shapes(scene.truth, "bbox")
    oracles = options.attribution_bootstrap > 0
    sides = [side.build(runs, scene.truth, shapes, "bbox", oracles=oracles) for runs in (a, b)]
    return comparison.compare(*sides, options, measures.quiet)


def rows(record: dict[str, Any]) -> dict[str, tuple[float, list[float]]]:
    """(value, interval) of what is calibrated, by name."""
    found = {name: (record["metrics"][name]["gain"], record["metrics"][name]["interval"])
             for name in ("AP", "AP50")}  # fmt: skip
    split = record["two_factor"]["0.1"]
    for name in ("recognition", "localization"):
        found[name] = split[name], split["interval"][name]
    for kind, one in record.get("attribution", {}).items():
        found[f"{kind} (kind)"] = one["gain"], one["interval"]
    for k, one in enumerate(record["by_class"]):
        found[f"class {k}"] = one["gain"], one["interval"]
    return found


def run_of(base: Detector, chance: float) -> Detector:
    """What a training seed makes of a detector: ``chance`` is standard normal."""
    return replace(base, class_error=base.class_error * float(np.exp(SPREAD * chance)))


def trained(scene: World, base: Detector, runs: int, rng: np.random.Generator) -> Runs:
    """The runs of a side: one detector, or several that differ by their seed."""
    if runs == 1:
        return [simulation.detect(scene, base, luck=int(rng.integers(2**62)))]
    several = (run_of(base, rng.standard_normal()) for _ in range(runs))
    return [simulation.detect(scene, one, luck=int(rng.integers(2**62)), fresh=FRESH) for one in several]


@functools.cache
def truth(attribution: bool, runs: int) -> dict[str, float]:
    """What the gains are in the population, of one detector or of the mean over what seeds make of it."""
    # Midpoints of equal shares of the normal distribution.
    chances = [NormalDist().inv_cdf((i + 0.5) / 5) for i in range(5)] if runs > 1 else [0.0]
    found: list[dict[str, float]] = []
    for draw in range(WORLDS):
        scene = simulation.world(images=WHOLE, classes=CLASSES, seed=77 + draw, frequency=FREQUENCY)
        pair = ([simulation.detect(scene, run_of(one, c)) for c in chances] for one in (Detector(), BETTER))
        record = compare(scene, *pair, Options(2, 2 * attribution))
        found.append({name: value for name, (value, _) in rows(record).items()})
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def profile(scene: World, *, odd: float, even: float) -> Detector:
    """A detector that misses other shares of the odd classes than of the even ones."""
    rates = np.where(scene.truth.object_class % 2 == 1, odd, even)
    return replace(Detector(), missed=rates)  # type: ignore[arg-type]


def one_set(images: int, seed: int, *, attribution: bool, runs: int = 1) -> dict[str, Any]:
    """All that is asked of one test set; see the head of this file."""
    options = Options(400, 200 * attribution, seed)
    scene = simulation.world(images=images, classes=CLASSES, seed=1000 + seed, frequency=FREQUENCY)
    rng = seeds.numpy_generator("calibration runs", seed)
    pair = [trained(scene, one, runs, rng) for one in (Detector(), BETTER)]
    record, true = compare(scene, *pair, options), truth(attribution, runs)
    result: dict[str, Any] = {"images": images, "seed": seed, "rows": {}, "classes": []}
    result["widened"] = record["resamples"]["widened"]
    for name, (value, (low, high)) in rows(record).items():
        if low is not None and name.startswith("class "):
            seen = record["by_class"][int(name.split()[1])]["images"]
            result["classes"].append([seen, value, low, high, true[name]])
        elif low is not None:
            result["rows"][name] = [value, low, high, true[name]]
    if runs > 1:
        return result
    plain = replace(options, attribution_bootstrap=0)
    even = simulation.world(images=images, classes=8, seed=5000 + seed, frequency=np.full(8, 1 / 8))
    first = simulation.detect(even, profile(even, odd=0.1, even=0.35), luck=3 * seed)
    for name, other in (("type I", (0.35, 0.1)), ("power", (0.25, 0.04))):
        second = simulation.detect(even, profile(even, odd=other[0], even=other[1]), luck=3 * seed + 1)
        metrics = compare(even, [first], [second], plain)["metrics"]
        result[name] = {m: [metrics[m]["p"], *metrics[m]["interval"]] for m in ("AP", "AP50", "AP75")}
    even_shares = np.full(CLASSES, 1 / CLASSES)
    many = simulation.world(images=images, classes=CLASSES, seed=9000 + seed, frequency=even_shares)
    # No wrong classes: those of a class that differs would be false detections of the others.
    base = replace(Detector(), missed=0.5, class_error=0.0)
    better = replace(base, missed=np.where(many.truth.object_class < DIFFERENT, 0.02, 0.5))  # type: ignore[arg-type]
    pair = [[simulation.detect(many, d, luck=7 * seed + i)] for i, d in enumerate((base, better))]
    adjusted = [row["p_adjusted"] for row in compare(many, *pair, plain)["by_class"]]
    stars = [p is not None and p < 0.05 for p in adjusted]
    result["stars"] = [sum(stars[:DIFFERENT]), sum(stars[DIFFERENT:])]
    return result


def share(values: Sequence[float]) -> str:
    """A share in percent with its standard error."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values) / np.sqrt(len(values)):.1f}"


def show(sets: Sequence[dict[str, Any]]) -> None:
    """One column for each number of images."""
    by_images: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for one in sets:
        by_images[one["images"]].append(one)
    sizes = sorted(by_images)
    print("| | " + " | ".join(f"{n} images" for n in sizes) + " |\n|--" + "|--" * len(sizes) + "|")
    names = dict.fromkeys(name for one in sets for name in one["rows"])
    table = {
        "test sets": {n: str(len(by_images[n])) for n in sizes},
        **{name: {n: share(held(by_images[n], name) or [np.nan]) for n in sizes} for name in names},
    }
    for low, high in GROUPS:
        inside = {
            n: [a <= true <= b for o in by_images[n] for seen, _, a, b, true in o["classes"]
                if low <= seen <= high]
            for n in sizes
        }  # fmt: skip
        title = f"classes in {low} to {high} images" if high < 10**9 else f"classes in {low} and more"
        table[title] = {n: share(inside[n]) if inside[n] else "–" for n in sizes}
    for name in ("type I", "power") if "stars" in sets[0] else ():
        for metric in ("AP", "AP50", "AP75"):
            found = {n: [o[name][metric] for o in by_images[n]] for n in sizes}
            table[f"{name}, {metric}"] = {n: share([p < 0.05 for p, _, _ in found[n]]) for n in sizes}
            apart = {n: [(p < 0.05) != (a > 0 or b < 0) for p, a, b in found[n]] for n in sizes}
            assert not any(map(any, apart.values())), "p and interval contradict each other"
    if "stars" in sets[0]:
        # A set without a star has none that is false.
        table["false among starred classes"] = {
            n: share([o["stars"][1] / max(sum(o["stars"]), 1) for o in by_images[n]]) for n in sizes
        }
        table["differing classes starred"] = {
            n: share([o["stars"][0] / DIFFERENT for o in by_images[n]]) for n in sizes
        }
    for name, cells in table.items():
        print(f"| {name} | " + " | ".join(cells[n] for n in sizes) + " |")


def held(sets: Sequence[dict[str, Any]], name: str) -> list[bool]:
    """Whether the interval held the truth, of the sets that have one."""
    found = [one["rows"][name] for one in sets if name in one["rows"]]
    return [low <= true <= high for _, low, high, true in found]


def table(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the report reads: percent covered by number of images, where there are ``ENOUGH`` test sets."""
    rows = []
    for images in sorted({one["images"] for one in sets}):
        some = [one for one in sets if one["images"] == images]
        if len(some) >= ENOUGH:
            shares = {name: float(np.mean(held(some, name))) for name in some[0]["rows"]}
            rows.append(
                {"images": images, "sets": len(some)}
                | {"covered": {name: round(100 * share, 1) for name, share in shares.items()}}
            )
    return {
        "what": "percent of the true values that 95% intervals held, in simulated test sets",
        "date": datetime.now(UTC).date().isoformat(),
        "command": "python benchmarks/bench_calibration.py --show FILES --write",
        "by_images": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--output", type=Path, help="one line of JSON a set; sets that stand there are kept")
    parser.add_argument("--no-attribution", action="store_true", help="leave the kinds of error out")
    parser.add_argument("--runs", type=int, default=1, help="a side; several: coverage alone")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--write", action="store_true", help=f"with --show: write {TABLE.name}")
    args = parser.parse_args()
    if args.show:
        sets = [json.loads(line) for path in args.show for line in path.read_text().splitlines()]
        show(sets)
        if args.write:
            files.write_json(TABLE, table(sets))
        return
    done = len(args.output.read_text().splitlines()) if args.output.exists() else 0
    with args.output.open("a") as file:
        for seed in log.progress(range(FIRST + done, FIRST + args.sets), args.sets - done, "test sets"):
            one = one_set(args.images, seed, attribution=not args.no_attribution, runs=args.runs)
            file.write(json.dumps(one) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
