"""Do the intervals of rare, common and frequent classes cover? Simulated federated test sets.

python benchmarks/bench_bands.py --sets 200                   prints coverage by test images a class
python benchmarks/bench_bands.py --sets 200 --write           and writes what the report reads

A set holds classes drawn anew from one population (how often a class is missed, and what the candidate gains,
differ from class to class), each on so many images that show it and on eight that list it as absent. The
truth is the mean of the gains over all sets of a kind. Beside the crossed bootstrap stands that of images
alone, classes widened by what their few images lack, which is what COCO's 80 classes get.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import simulation
from wsl_det.coco.ground_truth import Federated, GroundTruth
from wsl_det.core import files, log
from wsl_det.core import seed as seeds
from wsl_det.evaluation import matching
from wsl_det.gain import bands, comparison, estimates, groups, measures, resamples, side
from wsl_det.predictions import Predictions

IMAGES_A_CLASS = (1, 2, 3, 5, 10)
NEGATIVE, FALSE_BOXES, CLASSES_AN_IMAGE = 8, 0.25, 3
TABLE = Path(__file__).parents[1] / "wsl_det" / "gain" / "bands.json"


def make(rng: np.random.Generator, seen_in: np.ndarray) -> tuple[GroundTruth, Predictions, Predictions]:
    """A test set whose classes are on ``seen_in`` (K,) images each, and two detectors on it."""
    classes = len(seen_in)
    images = max(int(seen_in.sum()) // CLASSES_AN_IMAGE, int(seen_in.max()) + NEGATIVE)
    shown, absent = [], []
    for n in seen_in:
        drawn = rng.choice(images, n + NEGATIVE, replace=False)
        shown.append(drawn[:n])
        absent.append(drawn[n:])
    image = np.concatenate(shown)
    label = np.repeat(np.arange(classes), seen_in)
    times = 1 + rng.poisson(0.5, len(image))
    image, label = np.repeat(image, times), np.repeat(label, times)
    order = np.argsort(image, kind="stable")
    image, label = image[order], label[order]
    truth = simulation.as_truth(images, classes, image, label, simulation.random_boxes(rng, len(image)))
    without = [np.array([], dtype=np.int32)] * images
    listed = np.zeros((images, classes), dtype=bool)
    for k, those in enumerate(absent):
        listed[those, k] = True
    negative = [np.flatnonzero(row).astype(np.int32) for row in listed]
    sets = Federated(negative, without, np.zeros(len(image), dtype=bool))
    truth = replace(truth, federated=sets, category_frequency=["r"] * classes)
    return truth, *_detect(rng, truth, absent, shown)


def _detect(
    rng: np.random.Generator, truth: GroundTruth, absent: list[np.ndarray], shown: list[np.ndarray]
) -> tuple[Predictions, Predictions]:
    classes, objects = len(absent), truth.num_objects
    hard = rng.normal(-0.3, 1.0, classes)
    gain = rng.normal(0.4, 0.4, classes)
    judged = [np.concatenate(pair) for pair in zip(absent, shown, strict=True)]
    at, name = np.concatenate(judged), np.repeat(np.arange(classes), [len(one) for one in judged])
    number = rng.poisson(FALSE_BOXES * 2, len(at))
    at, name = np.repeat(at, number), np.repeat(name, number)
    behind = simulation.random_boxes(rng, len(at))
    luck = rng.standard_normal((objects, 7))
    false_luck = rng.standard_normal((len(at), 2))
    found = []
    for better in (0.0, 1.0):
        # Half of the chance is the picture's, which both detectors meet, half a detector's own.
        mine = (luck + rng.standard_normal(luck.shape)) / math.sqrt(2)
        false = (false_luck + rng.standard_normal(false_luck.shape)) / math.sqrt(2)
        missed = hard - better * gain
        seen = mine[:, 0] > missed[truth.object_class]
        boxes = simulation.moved(truth.object_boxes_xywh, (0.08 - 0.006 * better) * mine[:, 1:5])
        found.append(
            simulation.as_predictions(
                truth,
                [
                    (seen, truth.object_image, truth.object_class, boxes, 1.0 + mine[:, 5]),
                    (false[:, 0] > 0.1 * better, at, name, behind, false[:, 1]),
                ],
            )
        )
    return found[0], found[1]


def measure(seen_in: np.ndarray, seed: int, bootstrap: int) -> np.ndarray:
    """(2, 3, 3) crossed and by images alone: value, low and high of gain, recognition and localization."""
    truth, *detectors = make(seeds.numpy_generator("bands", seed), seen_in)
    shapes = matching.object_shapes(truth, "bbox")
    sides = [side.build([one], truth, shapes, "bbox", oracles=False) for one in detectors]
    table = sides[0].tables[0]
    weights = resamples.multiplicities(table.num_images, bootstrap, seed)
    a, b = (side.scores(one, weights, measures.quiet) for one in sides)
    layout, every = measures.Layout(table), np.arange(len(seen_in))
    crossed = bands.crossed(a, b, layout, every, seed)
    of_classes = b.replicates[layout.classes] - a.replicates[layout.classes]
    widen = estimates.widening(of_classes, groups.images_of_classes(table), table.num_images)
    pair = comparison.Pair(a, b, table.num_images, widen)
    alone = pair.estimate(lambda x, y: bands.parts_of(x, y, layout, every))
    return np.array([[[one.point, *one.interval] for one in rows] for rows in (crossed, alone)])


def kinds(classes: int) -> dict[str, np.ndarray]:
    """Test images of the classes, by the name of the kind of set: equal for all, and as in LVIS."""
    found = {f"{n}": np.full(classes, n) for n in IMAGES_A_CLASS}
    steps = (1, 1, 1, 2, 3, 4, 6, 9, 14, 22)
    return found | {"mixed": np.resize(np.array(steps), 3 * classes)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--bootstrap", type=int, default=300)
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for kind, seen_in in kinds(args.classes).items():
        if args.kinds and kind not in args.kinds:
            continue
        seeds_of = log.progress(range(args.sets), args.sets, what=f"{kind} images a class")
        found = np.stack([measure(seen_in, seed, args.bootstrap) for seed in seeds_of])
        truth = np.nanmean(found[:, :, :, 0], axis=0)
        below, above = found[..., 2] < truth, found[..., 1] > truth
        defined = ~np.isnan(found[..., 1])
        covered = 100 * (defined & ~below & ~above).sum(axis=0) / defined.sum(axis=0)
        for i, way in enumerate(("crossed", "images alone")):
            told = ", ".join(
                f"{part} {covered[i, j]:.1f} ({100 * below[:, i, j].mean():.1f} too low, "
                f"{100 * above[:, i, j].mean():.1f} too high)"
                for j, part in enumerate(bands.PARTS)
            )
            print(f"{kind:>5} images a class, {way:12s} {told}; gain {truth[i, 0]:.2f}", flush=True)
        shares = dict(zip(bands.PARTS, np.round(covered[0], 1).tolist(), strict=True))
        if kind != "mixed":
            rows.append({"images_a_class": int(kind), "sets": args.sets, "covered": shares})
    if args.write:
        command = f"python benchmarks/bench_bands.py --sets {args.sets} --write"
        what = "percent of the true values that 95% intervals of bands of classes held, in simulated sets"
        date = datetime.now(UTC).date().isoformat()
        files.write_json(TABLE, {"what": what, "date": date, "command": command}
                         | {"classes": args.classes, "by_images_a_class": rows})  # fmt: skip


if __name__ == "__main__":
    main()
