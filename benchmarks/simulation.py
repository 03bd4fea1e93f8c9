"""Simulated test sets and detectors whose faults are known, to try the report on.

All chance of a test set is drawn once, as a ``World``; a detector is a set of rates that reads it. Two
detectors of one world share every draw, so they differ in exactly what their rates differ in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import seed as seeds
from wsl_det.predictions import Predictions

WIDTH, HEIGHT = 640, 480
MOST_BACKGROUND = 8.0
"""Background boxes drawn per image unless a world asks for more; detectors keep a share of them."""


@dataclass(frozen=True)
class Detector:
    """Rates of faults. Scores are logistic; noises are in units of the box's sides.

    class_error: share of detections with a wrong class. box_noise: standard deviation of position and
    log size. missed: share of objects without detection. background: mean false boxes an image, clear
    of every object. duplicates: share of detections with a second one, worse in box and score.
    ranking: by how much the logit of detections of objects lies above that of background.
    follows_iou: logit per unit of IoU. jitter: standard deviation of the logit.
    """

    class_error: float = 0.15
    box_noise: float = 0.06
    missed: float = 0.20
    background: float = 3.0
    duplicates: float = 0.30
    ranking: float = 1.0
    follows_iou: float = 0.0
    jitter: float = 1.0


@dataclass(frozen=True)
class World:
    """A ground truth and every random number that detectors of it need."""

    truth: GroundTruth
    uniform: dict[str, np.ndarray]
    normal: dict[str, np.ndarray]
    other_class: np.ndarray
    background_image: np.ndarray
    background_class: np.ndarray
    background_boxes: np.ndarray
    background: float


def world(
    *,
    images: int,
    classes: int,
    seed: int,
    objects: float = 5.0,
    background: float = MOST_BACKGROUND,
    frequency: np.ndarray | None = None,
) -> World:
    """Draw a test set: Poisson objects an image, log-normal sizes, Dirichlet class frequencies.

    ``background`` is the mean number of false boxes an image to choose from. ``frequency`` (K,) fixes
    the shares of the classes: test sets of one population have them in common.
    """
    rng = seeds.numpy_generator("simulated world", seed)
    drawn = rng.dirichlet(np.full(classes, 2.0))
    frequency = drawn if frequency is None else frequency
    object_image = np.repeat(np.arange(images), rng.poisson(objects, images))
    num = len(object_image)
    object_class = rng.choice(classes, size=num, p=frequency)
    boxes = random_boxes(rng, num)
    background_image = np.repeat(np.arange(images), rng.poisson(background, images))
    background_boxes = random_boxes(rng, len(background_image))
    clear = ~_touches(background_image, background_boxes, object_image, boxes, images)
    kinds = ("missed", "class", "duplicate", "background")
    sizes = {kind: num if kind != "background" else int(clear.sum()) for kind in kinds}
    return World(
        truth=as_truth(images, classes, object_image, object_class, boxes),
        uniform={kind: rng.random(size) for kind, size in sizes.items()},
        normal={
            "box": rng.standard_normal((num, 4)),
            "score": rng.standard_normal(num),
            "second score": rng.standard_normal(num),
            "background score": rng.standard_normal(int(clear.sum())),
        },
        other_class=(object_class + rng.integers(1, max(classes, 2), num)) % classes,
        background_image=background_image[clear],
        background_class=rng.choice(classes, size=int(clear.sum()), p=frequency),
        background_boxes=background_boxes[clear],
        background=background,
    )


def detect(scene: World, detector: Detector, *, luck: int | None = None, fresh: float = 1.0) -> Predictions:
    """The detections of ``detector`` in a world; another ``luck`` redraws what training seeds would.

    With ``luck`` a share ``fresh`` of the draws is new: runs of one detector, which differ by their seed
    and have the rest in common, as trained detectors have what is hard in an image.
    """
    scene = scene if luck is None else _redrawn(scene, luck, fresh)
    truth = scene.truth
    seen = scene.uniform["missed"] >= detector.missed
    again = seen & (scene.uniform["duplicate"] < detector.duplicates)
    label = np.where(scene.uniform["class"] < detector.class_error, scene.other_class, truth.object_class)
    objects = truth.object_boxes_xywh
    noise = detector.box_noise * scene.normal["box"]
    first = moved(objects, noise)
    logit = detector.ranking + detector.follows_iou * (overlap(first, objects) - 0.7)
    logit = logit + detector.jitter * scene.normal["score"]
    # A duplicate is worse than the first in box and score, so it never takes its place: without them
    # nothing else changes.
    second = moved(objects, 1.2 * noise)
    weaker = logit - 0.7 * np.abs(scene.normal["second score"])
    kept = scene.uniform["background"] < detector.background / scene.background
    behind = detector.jitter * scene.normal["background score"]
    parts = [
        (seen, truth.object_image, label, first, logit),
        (again, truth.object_image, label, second, weaker),
        (kept, scene.background_image, scene.background_class, scene.background_boxes, behind),
    ]
    return as_predictions(truth, parts)


def as_predictions(truth: GroundTruth, parts: Sequence[tuple[np.ndarray, ...]]) -> Predictions:
    """Detections from parts of (which to keep, image, class, box, logit of the score)."""
    rows = [[column[keep] for column in columns] for keep, *columns in parts]
    image, label, boxes, logit = (np.concatenate(column) for column in zip(*rows, strict=True))
    return Predictions(
        image_ids=truth.image_ids[image],
        category_ids=truth.category_ids[label],
        scores=1 / (1 + np.exp(-logit)),
        boxes_xywh=boxes,
        masks=None,
        meta=None,
        source="simulation",
    )


def to_coco(scene: World, found: Predictions) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The annotation file and the results list of a simulated detector, as plain JSON values."""
    truth = scene.truth
    annotations = [
        {"id": i + 1, "image_id": int(truth.image_ids[image]), "category_id": int(truth.category_ids[name]),
         "bbox": box.tolist(), "area": float(area), "iscrowd": 0}
        for i, (image, name, box, area) in enumerate(
            zip(truth.object_image, truth.object_class, truth.object_boxes_xywh, truth.object_area,
                strict=True)
        )
    ]  # fmt: skip
    assert found.boxes_xywh is not None, "simulated detectors give boxes"
    results = [
        {"image_id": int(i), "category_id": int(c), "bbox": box.tolist(), "score": float(score)}
        for i, c, box, score in zip(
            found.image_ids, found.category_ids, found.boxes_xywh, found.scores, strict=True
        )
    ]
    images = [
        {"id": int(i), "height": HEIGHT, "width": WIDTH, "file_name": name}
        for i, name in zip(truth.image_ids, truth.file_names, strict=True)
    ]
    categories = [
        {"id": int(i), "name": name} for i, name in zip(truth.category_ids, truth.class_names, strict=True)
    ]
    return {"images": images, "categories": categories, "annotations": annotations}, results


def _redrawn(scene: World, luck: int, fresh: float) -> World:
    rng = seeds.numpy_generator("simulated run", luck)
    uniform = {kind: rng.random(len(values)) for kind, values in scene.uniform.items()}
    normal = {kind: rng.standard_normal(values.shape) for kind, values in scene.normal.items()}
    if fresh < 1:
        for before, again in ((scene.uniform, uniform), (scene.normal, normal)):
            for kind, values in before.items():
                kept = rng.random(len(values)) >= fresh
                again[kind][kept] = values[kept]
    return replace(scene, uniform=uniform, normal=normal)


def random_boxes(rng: np.random.Generator, num: int) -> np.ndarray:
    side = np.exp(rng.normal(4.2, 0.7, num))
    aspect = np.exp(rng.normal(0, 0.35, num))
    width = np.clip(side * aspect, 12, WIDTH * 0.9)
    height = np.clip(side / aspect, 12, HEIGHT * 0.9)
    corner = rng.random((num, 2)) * np.stack([WIDTH - width, HEIGHT - height], axis=1)
    return np.column_stack([corner, width, height])


def moved(boxes: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Boxes with centre and log size moved by ``noise`` (N, 4), in units of their sides."""
    size = boxes[:, 2:] * np.exp(noise[:, 2:])
    centre = boxes[:, :2] + boxes[:, 2:] * (0.5 + noise[:, :2])
    return np.concatenate([centre - size / 2, size], axis=1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...) IoU of xywh boxes, broadcast."""
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    return common / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common)


def _touches(
    image: np.ndarray, boxes: np.ndarray, object_image: np.ndarray, objects: np.ndarray, images: int
) -> np.ndarray:
    """(N,) whether a box overlaps any object of its image by 0.1 or more; both are ordered by image."""
    starts, rows = (np.searchsorted(of, np.arange(images + 1)) for of in (object_image, image))
    touches = np.zeros(len(boxes), dtype=bool)
    for i in range(images):
        there, here = slice(rows[i], rows[i + 1]), slice(starts[i], starts[i + 1])
        touches[there] = (overlap(boxes[there, None], objects[None, here]) >= 0.1).any(axis=1)
    return touches


def as_truth(
    images: int, classes: int, object_image: np.ndarray, object_class: np.ndarray, boxes: np.ndarray
) -> GroundTruth:
    num = len(object_image)
    return GroundTruth(
        image_ids=np.arange(1, images + 1),
        image_sizes=np.tile([HEIGHT, WIDTH], (images, 1)),
        file_names=[f"{i + 1:06d}.jpg" for i in range(images)],
        category_ids=np.arange(1, classes + 1),
        category_names=[f"class {k + 1}" for k in range(classes)],
        object_ids=np.arange(1, num + 1),
        object_image=object_image.astype(np.int32),
        object_class=object_class.astype(np.int32),
        object_boxes_xywh=boxes,
        object_area=boxes[:, 2] * boxes[:, 3],
        object_crowd=np.zeros(num, dtype=bool),
        segmentations=[None] * num,
        source="simulation",
    )
