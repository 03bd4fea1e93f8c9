"""Oracles: mend one or more kinds of error in a list of detections, and match it again.

The kinds and their order-free game are design.md section 5, level 3. A subset of mends is a bit mask:
bit i set means that ``KINDS[i]`` is mended.
"""

from __future__ import annotations

import numpy as np

from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.compiled import compiled
from wsl_det.evaluation.match_table import COCO_THRESHOLDS
from wsl_det.gain.pairs import ImagePairs

KINDS = ("classification", "localization", "background", "missed", "duplicate")
CLASSIFICATION, LOCALIZATION, BACKGROUND, MISSED, DUPLICATE = (1 << i for i in range(5))
FOREGROUND = 0.1
"""Overlap with an object from which a detection is about that object at all."""
BLOCK = 64


def values(pairs: ImagePairs, weights: np.ndarray) -> np.ndarray:
    """(32, B) percent: AP averaged over the ten IoUs, for each subset of mends and weighting (I, B).

    nan where no class has an object left.
    """
    num = weights.shape[1]
    total = np.zeros((32, num))
    defined = np.zeros((32, num), dtype=np.int64)
    for t in range(len(COCO_THRESHOLDS)):
        mended = mend(pairs, t)
        for start in range(0, num, BLOCK):
            block = np.ascontiguousarray(weights[:, start : start + BLOCK])
            by_subset = _average(pairs, mended, block)
            there = ~np.isnan(by_subset)
            total[:, start : start + BLOCK] += np.where(there, by_subset, 0.0)
            defined[:, start : start + BLOCK] += there
    return np.divide(100 * total, defined, out=np.full(total.shape, np.nan), where=defined > 0)


def mend(pairs: ImagePairs, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels (D,), status (32, D), wanted (G,)) at IoU ``COCO_THRESHOLDS[t]``.

    labels: the classes after the classification mend. status: FALSE, TRUE or IGNORED (dropped
    detections are ignored) for each subset. wanted: objects that are some detection's target.
    """
    target = _targets(
        pairs.image, pairs.label, pairs.matched[t], pairs.object_starts, pairs.object_label,
        pairs.counted, pairs.overlap, pairs.overlap_starts, FOREGROUND,
    )  # fmt: skip
    wanted = np.zeros(len(pairs.object_label), dtype=bool)
    wanted[target[target >= 0]] = True
    labels = np.where(target >= 0, pairs.object_label[target], pairs.label) if len(wanted) else pairs.label
    status = _match_mended(
        pairs.image_starts, pairs.by_image, pairs.label, labels, pairs.matched[t], target, wanted,
        pairs.object_starts, pairs.object_label, pairs.counted, pairs.crowd,
        pairs.overlap, pairs.overlap_starts, pairs.between, pairs.between_starts, COCO_THRESHOLDS[t],
    )  # fmt: skip
    return labels, status, wanted


def _average(
    pairs: ImagePairs, mended: tuple[np.ndarray, np.ndarray, np.ndarray], weights: np.ndarray
) -> np.ndarray:
    """(32, B) mean AP over the classes at one IoU."""
    labels, status, wanted = mended
    subsets = np.arange(32)
    result = np.full((32, weights.shape[1]), np.nan)
    for reclassified, label in ((0, pairs.label), (CLASSIFICATION, labels)):
        order = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[order], np.arange(pairs.num_classes + 1))
        for fewer, counted in ((0, pairs.counted), (MISSED, pairs.counted & wanted)):
            chosen = subsets[((subsets & CLASSIFICATION) == reclassified) & ((subsets & MISSED) == fewer)]
            number = ap.positives(pairs.object_image, pairs.object_label, counted, weights, pairs.num_classes)
            by_class = ap.precision(
                starts, pairs.image[order], np.ascontiguousarray(status[chosen][:, order]), weights, number
            )
            result[chosen] = ap.mean_over_classes(by_class, 1)
    return result


@compiled
def _targets(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    image, label, matched, object_starts, object_label, counted, overlap, overlap_starts, foreground
):
    """(D,) the object that a detection is about, or -1; detections that crowds absorb have none."""
    target = np.full(len(image), -1, dtype=np.int64)
    for d in range(len(image)):
        if matched[d] >= 0:
            if counted[matched[d]]:
                target[d] = matched[d]
            continue
        first = object_starts[image[d]]
        for own_class in (True, False):
            best = foreground
            for o in range(first, object_starts[image[d] + 1]):
                value = overlap[overlap_starts[d] + o - first]
                if not counted[o] or value < best or (own_class and object_label[o] != label[d]):
                    continue
                if value > best or target[d] < 0:
                    best = value
                    target[d] = o
            if target[d] >= 0:
                break
    return target


@compiled
def _match_mended(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0917
    image_starts, by_image, label, mended_label, matched, target, wanted,
    object_starts, object_label, counted, crowd, overlap, overlap_starts, between, between_starts, threshold,
):  # fmt: skip
    """(32, D) status after each subset of mends; pycocotools' matching rules, class by class."""
    status = np.zeros((32, len(label)), dtype=np.uint8)
    taken = np.zeros(len(object_label), dtype=np.bool_)
    limit = min(threshold, 1 - 1e-10)
    for subset in range(16):
        reclassify, relocate = subset & 1, subset & 2
        for i in range(len(image_starts) - 1):
            first, last = object_starts[i], object_starts[i + 1]
            for o in range(first, last):
                taken[o] = False
            for at in range(image_starts[i], image_starts[i + 1]):
                d = by_image[at]
                absorbed = matched[d] >= 0 and not counted[matched[d]]
                if absorbed or (subset & 4 and target[d] < 0):
                    status[subset, d] = 2
                    status[subset | 16, d] = 2
                    continue
                name = mended_label[d] if reclassify else label[d]
                best, best_ignored = limit, limit
                found, found_ignored = -1, -1
                near = False
                for o in range(first, last):
                    if object_label[o] != name:
                        continue
                    if relocate and target[d] >= 0:
                        value = between[between_starts[target[d]] + o - first]
                    else:
                        value = overlap[overlap_starts[d] + o - first]
                    if counted[o]:
                        if subset & 8 and not wanted[o]:
                            continue
                        near = near or value >= limit
                        if not taken[o] and value >= best:
                            best = value
                            found = o
                    elif (crowd[o] or not taken[o]) and value >= best_ignored:
                        best_ignored = value
                        found_ignored = o
                if found >= 0:
                    taken[found] = True
                    status[subset, d] = 1
                    status[subset | 16, d] = 1
                elif found_ignored >= 0:
                    taken[found_ignored] = True
                    status[subset, d] = 2
                    status[subset | 16, d] = 2
                elif near:
                    status[subset | 16, d] = 2
    return status
