"""Results that fit a ground truth only when boxes or category ids are read by another convention.

Both are wrong numbers without a word: boxes as corners or as shares of the image lie inside it all the same,
and category ids in another order are known ids. Whether another reading fits better is asked of a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsl_det.coco import masks
from wsl_det.coco.ground_truth import GroundTruth, places
from wsl_det.evaluation import matching
from wsl_det.predictions import Predictions

IMAGES = 400
"""Images of the sample, evenly over the test set."""
OVERLAP = 0.5
OUTSIDE = 0.02
"""Of an image's side: a box that leaves the image by less may be rounding."""


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


_READINGS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "[x0, y0, x1, y1]": (_corners, False),
    "[center x, center y, width, height]": (_centred, False),
    "[x, y, width, height] as shares of the image": (lambda boxes: boxes, True),
    "[x0, y0, x1, y1] as shares of the image": (_corners, True),
    "[center x, center y, width, height] as shares of the image": (_centred, True),
}


@dataclass(frozen=True)
class _Sample:
    """Detections and objects of some images, each object beside all detections of its image.

    first, second: (P,) places in ``rows`` of the predictions and among the objects.
    """

    boxes: np.ndarray
    size: np.ndarray
    objects: np.ndarray
    first: np.ndarray
    second: np.ndarray
    rows: np.ndarray
    object_rows: np.ndarray

    @cached_property
    def as_they_are(self) -> np.ndarray:
        return self.overlaps(self.boxes)

    def overlaps(self, boxes: np.ndarray) -> np.ndarray:
        """(P,) IoU of the pairs; boxes of negative size overlap nothing."""
        there: np.ndarray = np.min(boxes[:, 2:], axis=1) > 0
        crowd = np.zeros(len(self.objects), dtype=bool)
        boxes = np.ascontiguousarray(np.where(there[:, None], boxes, 0.0))
        found = matching.box_overlaps(boxes, self.first, self.objects, self.second, crowd)
        return np.where(there[self.first], found, 0.0)

    def fits(self, boxes: np.ndarray) -> tuple[int, float]:
        """(objects that some box overlaps by ``OVERLAP``, share of boxes of no size or outside the image)."""
        overlaps = self.as_they_are if boxes is self.boxes else self.overlaps(boxes)
        hit = np.unique(self.second[overlaps >= OVERLAP])
        beyond = (boxes[:, :2] < -OUTSIDE * self.size) | (
            boxes[:, :2] + boxes[:, 2:] > (1 + OUTSIDE) * self.size + 1
        )
        wrong = beyond.any(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
        return len(hit), float(wrong.mean())


def _sample(found: Predictions, truth: GroundTruth) -> _Sample | None:
    """The pairs of a sample of images; None where nothing can be told."""
    if not len(found) or not truth.num_objects:
        return None
    image = places(truth.image_ids, found.image_ids)
    every = len(truth.image_ids)
    named = np.bincount(image[image >= 0], minlength=every) * np.bincount(truth.object_image, minlength=every)
    there = np.flatnonzero(named)
    chosen = np.zeros(every + 1, dtype=bool)  # the last for images that are not there
    chosen[there[:: max(1, len(there) // IMAGES)]] = True
    rows = np.flatnonzero(chosen[image])
    image = image[rows]
    objects = np.flatnonzero(truth.object_counts & chosen[truth.object_image])
    if not len(rows) or not len(objects):
        return None
    starts = np.searchsorted(truth.object_image[objects], np.arange(len(truth.image_ids) + 1))
    number = np.diff(starts)[image]
    first = np.repeat(np.arange(len(rows)), number)
    begin = np.cumsum(number) - number
    second = np.arange(len(first)) - np.repeat(begin - starts[image], number)
    return _Sample(
        boxes=_boxes(found, truth, rows, image),
        size=truth.image_sizes[image][:, ::-1].astype(np.float64),
        objects=np.ascontiguousarray(truth.object_boxes_xywh[objects]),
        first=first,
        second=second,
        rows=rows,
        object_rows=objects,
    )


def _boxes(found: Predictions, truth: GroundTruth, rows: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(N, 4) xywh of ``rows`` of the list, around their masks where it carries no boxes."""
    if found.boxes_xywh is not None:
        return found.boxes_xywh[rows]
    assert found.masks is not None, "predictions carry boxes or masks"
    given, sizes = [found.masks[i] for i in rows.tolist()], truth.image_sizes[image]
    return masks.read(given, sizes, lambda k: f"{found.source}: row {rows[k]}").boxes_xywh


def strange(found: Predictions, truth: GroundTruth) -> tuple[str, str, str] | None:
    """(what of the list, how it fits the ground truth, what was expected) by another convention, or None."""
    sample = _sample(found, truth)
    if sample is None:
        return None
    if found.boxes_xywh is not None and (boxes := _strange_boxes(sample)) is not None:
        return f"boxes of {found.source}", f"fit as {boxes}", "[x, y, width, height] in pixels expected"
    if (agreement := _strange_categories(sample, found, truth)) is None:
        return None
    before, after = (f"{100 * share:.0f}%" for share in agreement)
    return (
        f"category ids of {found.source}",
        f"{before} of the found objects have their own class",
        f"{after} once ids are exchanged: they are in another order than those of --gt",
    )


def _strange_boxes(sample: _Sample) -> str | None:
    """The reading that the boxes fit, if it is not [x, y, width, height] in pixels; None where it is.

    A list is strange when another reading finds more than twice the objects (and at least five more), or when
    every box fits into its image by the other reading and a fifth do not as they are.
    """
    known, outside = sample.fits(sample.boxes)
    shares = bool(sample.boxes.max() <= 2 and sample.objects.max() > 16)
    leaves = outside > 0.2 and outside * len(sample.boxes) >= 3
    if not shares and not leaves and len(sample.objects) <= max(2 * known, known + 4):
        return None  # no other reading can find more than twice the objects
    best, most = None, 0
    for name, (read, scaled) in _READINGS.items():
        if scaled and not shares:
            continue
        boxes = read(sample.boxes)
        boxes = boxes * np.tile(sample.size, 2) if scaled else boxes
        number, out = sample.fits(boxes)
        fits = number > max(2 * known, known + 4) or (leaves and out < 0.01 and number >= known)
        if fits and (best is None or number > most):
            best, most = name, number
    if best is None and shares and len(sample.boxes) >= 10:
        return "shares of the image"
    return best


def _strange_categories(
    sample: _Sample, found: Predictions, truth: GroundTruth
) -> tuple[float, float] | None:
    """(share of objects found under their own class, the same after ids are exchanged), where that differs.

    The order of the ids is learnt on half of the images and tried on the others, and the shares are means
    over the classes, so that a detector that is merely weak, or calls everything by one name, is not strange.
    """
    good = np.flatnonzero(sample.as_they_are >= OVERLAP)
    # The best-scored box on an object speaks for it.
    order = good[np.lexsort((-found.scores[sample.rows[sample.first[good]]], sample.second[good]))]
    objects, place = np.unique(sample.second[order], return_index=True)
    named = found.category_ids[sample.rows[sample.first[order[place]]]]
    known = np.isin(named, truth.category_ids)
    objects, named = objects[known], np.searchsorted(truth.category_ids, named[known])
    true = truth.object_class[sample.object_rows[objects]]
    images = np.unique(truth.object_image[sample.object_rows[objects]], return_inverse=True)[1]
    learnt, tried = images % 2 == 0, images % 2 == 1
    if tried.sum() < 10:
        return None
    number = len(truth.category_ids)

    def agreement(names: np.ndarray) -> float:
        right = np.bincount(true[tried], weights=names == true[tried], minlength=number)
        every = np.bincount(true[tried], minlength=number)
        return float((right[every > 0] / every[every > 0]).mean())

    as_is = agreement(named[tried])
    if 2 * as_is + 0.1 > 1:
        return None  # as with any sound list, whose reader need not wait for scipy
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((number, number))
    np.add.at(counts, (named[learnt], true[learnt]), 1)
    # Where the counts leave it open, an id stays what it is.
    exchanged = linear_sum_assignment(counts + 1e-3 * np.eye(number), maximize=True)[1]
    after = agreement(exchanged[named[tried]])
    return (as_is, after) if after >= 2 * as_is + 0.1 else None
