"""Planted mixtures: pairs of simulated detectors that differ in up to five known causes.

All chance of a test set is drawn once; both detectors of a pair read it, so they differ in their rates alone.
The truth is the Shapley value, in points of AP, over the planted causes turned on and off in the simulator.
Objects are several an image and of any size; boxes carry one to three labels; small objects are missed more
often; classes are confused within groups, and where the class is unsure the box is noisier; four in ten
background boxes overlap an object by 0.1 to 0.4; in a third of the mixtures scores follow the IoU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import seed as seeds
from wsl_det.evaluation import matching, metrics
from wsl_det.gain import attribution
from wsl_det.predictions import Predictions

CAUSES = ("classification", "localization", "background", "missed", "duplicate")
RATES = dict(zip(CAUSES, ("class_error", "box_noise", "background", "missed", "duplicates"), strict=True))
STRATA = ((2.0, 10.0), (10.0, 25.0), (25.0, 45.0))
"""Base AP of a third of the mixtures each."""
OVERLAPPING = 0.4
MOST_BACKGROUND = 20.0


@dataclass(frozen=True)
class Scene:
    """A ground truth and the chance that detectors read; background: a part of ``as_predictions``."""

    truth: GroundTruth
    uniform: dict[str, np.ndarray]
    normal: dict[str, np.ndarray]
    confused: np.ndarray
    background: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Mixture:
    """A scene with a baseline, and the rates that the candidate has instead, by cause."""

    scene: Scene
    base: Detector
    planted: Mapping[str, float]

    def detector(self, causes: frozenset[str] | None = None) -> Detector:
        """The baseline with these causes (by default all) as in the candidate."""
        causes = frozenset(self.planted) if causes is None else causes
        return replace(self.base, **{RATES[cause]: self.planted[cause] for cause in causes})

    def truth(self) -> dict[str, float]:
        """Points of AP that each cause contributes to the gain; 0 for those that were not planted."""
        names = sorted(self.planted)
        subsets = [frozenset(n for i, n in enumerate(names) if s >> i & 1) for s in range(1 << len(names))]
        values = np.array([ap(self.scene, self.detector(subset)) for subset in subsets])
        shares = attribution.shapley_weights(len(names)) @ values
        return dict.fromkeys(CAUSES, 0.0) | dict(zip(names, shares.tolist(), strict=True))


def ap(scene: Scene, rates: Detector) -> float:
    return float(metrics.measure(matching.match(detect(scene, rates), scene.truth, "bbox")).metrics["AP"][0])


def draw(seed: int, stratum: int, *, localization: bool, images: int = 400) -> Mixture:
    """The mixture of a seed, with a base AP in one of ``STRATA``; localization planted or not."""
    rng = seeds.numpy_generator("planted mixture", seed)
    low, high = STRATA[stratum]
    for _ in range(1000):
        scene = _scene(rng, images)
        # A scene costs more than a detector.
        for _ in range(12):
            base = _base(rng, follows_iou=4.0 if seed // 3 % 3 == 0 else 0.0)
            if low <= ap(scene, base) < high:
                return Mixture(scene, base, _planted(rng, base, localization=localization))
    raise RuntimeError(f"no detector with a base AP of {low} to {high} was drawn")


def _base(rng: np.random.Generator, follows_iou: float) -> Detector:
    return Detector(
        class_error=rng.uniform(0.05, 0.5),
        box_noise=float(np.exp(rng.uniform(np.log(0.03), np.log(0.22)))),
        missed=rng.uniform(0.05, 0.5),
        background=float(np.exp(rng.uniform(np.log(1.0), np.log(MOST_BACKGROUND)))),
        duplicates=rng.uniform(0.0, 0.5),
        ranking=rng.uniform(0.0, 2.5),
        follows_iou=follows_iou,
    )


def _planted(rng: np.random.Generator, base: Detector, *, localization: bool) -> dict[str, float]:
    others = [cause for cause in CAUSES if cause != "localization" and rng.random() < 0.55]
    if localization:
        others.append("localization")
    if not others:
        others.append(str(rng.choice([cause for cause in CAUSES if cause != "localization"])))
    planted = {}
    for cause in others:
        change = rng.uniform(0.75, 0.92) if cause == "localization" else rng.uniform(0.4, 0.85)
        planted[cause] = float(getattr(base, RATES[cause]) * change)
    return planted


def _scene(rng: np.random.Generator, images: int) -> Scene:
    classes = int(rng.integers(6, 25))
    frequency = rng.dirichlet(np.full(classes, 2.0))
    object_image = np.repeat(np.arange(images), rng.poisson(rng.uniform(2.5, 6.0), images))
    num = len(object_image)
    object_class = rng.choice(classes, size=num, p=frequency)
    boxes = simulation.random_boxes(rng, num)
    group = np.arange(classes) // 3
    order = np.argsort(rng.random((num, classes)) + 10 * (group[object_class][:, None] != group), axis=1)
    # The two classes that an object is taken for, out of its group where that has others.
    confused = np.stack([row[row != k][:2] for row, k in zip(order, object_class, strict=True)])
    uniform = {kind: rng.random(num) for kind in ("missed", "unsure", "duplicate", "second", "third")}
    normal = {kind: rng.standard_normal((num, 4)) for kind in ("box", "duplicate box")}
    normal |= {kind: rng.standard_normal(num) for kind in ("score", "duplicate", "second", "third")}
    truth = simulation.as_truth(images, classes, object_image, object_class, boxes)
    background = _background(rng, truth, frequency)
    uniform["background"] = rng.random(len(background[0]))
    return Scene(truth, uniform, normal, confused, background)


def _background(
    rng: np.random.Generator, truth: GroundTruth, frequency: np.ndarray
) -> tuple[np.ndarray, ...]:
    """As many false boxes as the worst detector has; four in ten overlap an object a little."""
    images, num = len(truth.image_ids), truth.num_objects
    wanted = rng.poisson(MOST_BACKGROUND, images)
    starts = np.searchsorted(truth.object_image, np.arange(images + 1))
    parts: list[tuple[int, int, np.ndarray]] = []
    objects = truth.object_boxes_xywh
    for i in range(images):
        here = slice(starts[i], starts[i + 1])
        near = rng.binomial(wanted[i], OVERLAPPING) if starts[i] < starts[i + 1] else 0
        for some, (low, high) in ((near, (0.1, 0.4)), (wanted[i] - near, (0.0, 0.1))):
            about = rng.integers(starts[i], starts[i + 1], 12 * some) if near or low else np.empty(0, int)
            boxes = simulation.random_boxes(rng, 12 * some)
            if low:
                boxes = _parts(rng, objects[about])
            overlap = simulation.overlap(boxes[:, None], objects[None, here]).max(axis=1, initial=0.0)
            kept = np.flatnonzero((overlap >= low) & (overlap < high))[:some]
            for b in kept:
                label = rng.choice(len(frequency), p=frequency)
                if low and rng.random() < 0.5:
                    label = truth.object_class[about[b]]
                parts.append((i, label, boxes[b]))
    assert num, "a scene has objects"
    image, label, box = (np.stack(column) for column in zip(*parts, strict=True))
    return image, label, box, rng.standard_normal(len(parts))


def _parts(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Boxes that cover a part of ``boxes`` or lie aside of them."""
    size = boxes[:, 2:] * np.exp(rng.uniform(np.log(0.35), np.log(1.5), (len(boxes), 2)))
    centre = boxes[:, :2] + boxes[:, 2:] * rng.uniform(-0.1, 1.1, (len(boxes), 2))
    return np.concatenate([centre - size / 2, size], axis=1)


def detect(scene: Scene, rates: Detector) -> Predictions:
    """The detections of a detector with these rates.

    Its class errors are of the first label, its misses a mean over small and large objects; no jitter.
    """
    truth, uniform, normal = scene.truth, scene.uniform, scene.normal
    objects, num = truth.object_boxes_xywh, truth.num_objects
    small = 1 - np.argsort(np.argsort(truth.object_area)) / max(num - 1, 1)
    seen = uniform["missed"] >= np.minimum(2 * small * rates.missed, 0.95)
    sure = uniform["unsure"]
    wrong = sure < rates.class_error
    noise = rates.box_noise * (1.5 - sure)[:, None]
    first = simulation.moved(objects, noise * normal["box"])
    again = simulation.moved(objects, 1.3 * noise * normal["duplicate box"])
    logit = rates.ranking + 1.5 * (sure - 0.5) + normal["score"]
    score = logit + rates.follows_iou * (simulation.overlap(first, objects) - 0.7)
    labels = np.where(wrong, scene.confused[:, 0], truth.object_class)
    others = np.where(wrong, truth.object_class, scene.confused[:, 0]), scene.confused[:, 1]
    image = truth.object_image
    parts = [(seen, image, labels, first, score)]
    # Further labels of the same box: likelier, and closer in score, where the class is unsure.
    for kind, share, other in zip(("second", "third"), (0.6, 0.25), others, strict=True):
        kept = seen & (uniform[kind] < share * (1.5 - sure))
        parts.append((kept, image, other, first, score - 0.3 - 2 * sure * np.abs(normal[kind])))
    twice = seen & (uniform["duplicate"] < rates.duplicates)
    later = logit + rates.follows_iou * (simulation.overlap(again, objects) - 0.7)
    parts.append((twice, image, labels, again, later - 0.2 - 0.8 * np.abs(normal["duplicate"])))
    kept = uniform["background"] < rates.background / MOST_BACKGROUND
    parts.append((kept, *scene.background))
    return simulation.as_predictions(truth, parts)
