"""Time LVIS: 5,000 images, 1,203 classes, 300 detections an image; evaluation beside hotcoco, and the card.

python benchmarks/bench_lvis.py           evaluation of one list, ours and hotcoco's, whole processes
python benchmarks/bench_lvis.py --card    tools/report_gain.py on two, with and without attribution
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import simulation
from benchmarks.bench_evaluation import whole
from wsl_det.coco.ground_truth import GroundTruth

CLASSES, OBJECTS, DETECTIONS, NEGATIVES = 1203, 12, 300, 12
PEER = """
import contextlib, io, sys
from hotcoco import LVIS, LVISEval, LVISResults
with contextlib.redirect_stdout(io.StringIO()):
    gt = LVIS(sys.argv[1]); judge = LVISEval(gt, LVISResults(gt, sys.argv[2]), "bbox"); judge.run()
print(judge.get_results()["AP"])
"""


def make(folder: Path, images: int) -> tuple[Path, Path, Path]:
    """Annotations and two detectors: classes by Zipf's law, a third of the detections of judged classes."""
    paths = (folder / f"gt{images}.json", folder / f"a{images}.json", folder / f"b{images}.json")
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASSES + 1) ** 1.1
    share /= share.sum()
    image = np.repeat(np.arange(images), rng.poisson(OBJECTS, images))
    label = rng.choice(CLASSES, len(image), p=share)
    truth = simulation.as_truth(images, CLASSES, image, label, simulation.random_boxes(rng, len(image)))
    tree: dict[str, Any] = {
        "images": [
            {"id": i + 1, "height": simulation.HEIGHT, "width": simulation.WIDTH}
            | {"coco_url": f"http://images.example/val2017/{i + 1:012d}.jpg"}
            for i in range(images)
        ],
        "annotations": [
            {"id": g + 1, "image_id": int(image[g]) + 1, "category_id": int(label[g]) + 1}
            | {"bbox": box.round(2).tolist(), "area": float(box[2] * box[3])}
            for g, box in enumerate(truth.object_boxes_xywh)
        ],
        "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(CLASSES)],
    }
    for k, category in enumerate(tree["categories"]):
        category["frequency"] = "f" if k < 405 else "c" if k < 866 else "r"
    shown: list[set[int]] = [set() for _ in range(images)]
    for i, k in zip(image.tolist(), label.tolist(), strict=True):
        shown[i].add(k + 1)
    judged = []
    for i, one in enumerate(tree["images"]):
        listed = (1 + rng.choice(CLASSES, NEGATIVES, replace=False)).tolist()
        one["neg_category_ids"] = [k for k in listed if k not in shown[i]]
        one["not_exhaustive_category_ids"] = [k for k in sorted(shown[i]) if rng.random() < 0.05]
        judged.append(np.array(sorted(shown[i]) + one["neg_category_ids"]))
    paths[0].write_text(json.dumps(tree))
    for path, noise in zip(paths[1:], (0.07, 0.06), strict=True):
        path.write_text(json.dumps(_detections(rng, truth, judged, share, noise)))
    return paths


def _detections(
    rng: np.random.Generator, truth: GroundTruth, judged: list[np.ndarray], share: np.ndarray, noise: float
) -> list[dict[str, Any]]:
    """Most objects found, and false boxes up to ``DETECTIONS`` an image; a third of them were judged."""
    found = rng.random(truth.num_objects) > 0.3
    boxes = simulation.moved(truth.object_boxes_xywh, noise * rng.standard_normal((truth.num_objects, 4)))
    image, label, box = truth.object_image[found], truth.object_class[found] + 1, boxes[found]
    score = 1 / (1 + np.exp(-rng.normal(0.5, 1.2, len(image))))
    missing = np.maximum(DETECTIONS - np.bincount(image, minlength=len(judged)), 0)
    false = np.repeat(np.arange(len(judged)), missing)
    names = 1 + rng.choice(CLASSES, len(false), p=share)
    known = np.concatenate([rng.choice(judged[i], n) for i, n in enumerate(missing.tolist())])
    names = np.where(rng.random(len(false)) < 1 / 3, known, names)
    rows = zip(
        np.concatenate([image, false]).tolist(),
        np.concatenate([label, names]).tolist(),
        np.concatenate([box, simulation.random_boxes(rng, len(false))]).round(2).tolist(),
        np.concatenate([score, 1 / (1 + np.exp(-rng.normal(-2, 1.2, len(false))))]).round(6).tolist(),
        strict=True,
    )
    return [{"image_id": i + 1, "category_id": k, "bbox": xywh, "score": s} for i, k, xywh, s in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/wsl_det_bench_lvis"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--card", action="store_true")
    args = parser.parse_args()
    gt, a, b = make(args.folder, args.images)
    runs: dict[str, list[Any]] = {
        "ours": [sys.executable, "tools/evaluate_predictions.py", "--gt", gt, "--predictions", a],
        "hotcoco": [sys.executable, "-c", PEER, gt, a],
    }
    if args.card:
        card = [sys.executable, "tools/report_gain.py", "--gt", gt, "--baseline", a, "--candidate", b]
        card += ["--output", args.folder / "report"]
        runs = {"card": card, "card without attribution": [*card, "--attribution-bootstrap", "0"]}
    for name, command in runs.items():
        wall, cpu, peak = whole(command)
        print(f"{name:26s} {wall:7.1f} s, {cpu:7.1f} s of CPU, peak {peak:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
