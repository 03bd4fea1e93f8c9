"""Oracles: mend one or more kinds of error in a list of detections, and match it again.

The kinds and their game: docs/method.md. A subset of mends is a bit mask: bit i set means
that ``KINDS[i]`` is mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsl_det.core.compiled import compiled
from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import COCO_THRESHOLDS, FALSE, IGNORED
from wsl_det.gain import threads
from wsl_det.gain.pairs import ImagePairs

KINDS = ("classification", "localization", "background", "missed", "duplicate")
CLASSIFICATION, LOCALIZATION, BACKGROUND, MISSED, DUPLICATE = (1 << i for i in range(5))
SUBSETS = [0, *(subset for subset in range(32) if subset & LOCALIZATION)]
"""What the game asks for: nothing mended, localization mended, and with it any of the others."""
LOOSEST, TIGHTEST = 0.1, 0.4
"""Bounds of the overlap from which a detection is about an object of its class (see ``foreground``)."""
OTHER_CLASS = 0.3
"""Least overlap from which it may be about an object of another class."""
SPREADS = 4
BLOCK = 64


def foreground(sides: Sequence[ImagePairs]) -> float:
    """The overlap from which detections are about an object of their class, one for all lists compared.

    It lies below 1 by four times the median of what the best box of an object lacks to 1: a box farther off
    is hardly a misplaced one of these detectors. So what overlaps an object a little is background for tight
    detectors and may be a localization error for loose ones; with 0.1 for all, background is read as
    localization (benchmarks/README.md, planted mixtures).
    """
    best = [_best(p.image, p.label, p.object_starts, p.object_label, p.counted, p.overlap, p.overlap_starts)
            for p in sides]  # fmt: skip
    medians = [np.median(one[one >= LOOSEST]) for one in best if (one >= LOOSEST).any()]
    lacks = 1 - float(np.mean(medians)) if medians else 1.0
    return min(max(1 - SPREADS * lacks, LOOSEST), TIGHTEST)


def values(pairs: ImagePairs, weights: np.ndarray, overlap: float = LOOSEST) -> np.ndarray:
    """(17, B) percent: AP averaged over the ten IoUs, for each of ``SUBSETS`` and weighting (I, B).

    ``overlap`` as from ``foreground``. nan where no class has an object left.
    """
    starts = range(0, weights.shape[1], BLOCK)
    blocks = [np.ascontiguousarray(weights[:, start : start + BLOCK]) for start in starts]

    def at(t: int) -> np.ndarray:
        mended = mend(pairs, t, overlap)
        return np.concatenate([_average(pairs, mended, block) for block in blocks], axis=1)

    total = np.zeros((len(SUBSETS), weights.shape[1]))
    defined = np.zeros(total.shape, dtype=np.int64)
    for by_subset in threads.in_order(at, range(len(COCO_THRESHOLDS))):
        total += np.where(np.isnan(by_subset), 0.0, by_subset)
        defined += ~np.isnan(by_subset)
    return np.divide(100 * total, defined, out=np.full(total.shape, np.nan), where=defined > 0)


@dataclass(frozen=True)
class Mended:
    """The mended lists at one IoU, ranked by class and then score: with the classes as they are, and mended.

    order: (2, D) detections in that ranking. starts: (2, K + 1) where a class begins. status: (32, D) of
    each of ``SUBSETS`` (other rows are left unset) in the ranking that it has: FALSE, TRUE or IGNORED
    (dropped detections are ignored).
    wanted: (G,) objects that are some detection's target.
    """

    order: np.ndarray
    starts: np.ndarray
    status: np.ndarray
    wanted: np.ndarray


def mend(pairs: ImagePairs, t: int, overlap: float) -> Mended:
    """``SUBSETS`` of mends at IoU ``COCO_THRESHOLDS[t]``, matched again."""
    target = targets(pairs, t, overlap)
    wanted = np.zeros(len(pairs.object_label), dtype=bool)
    wanted[target[target >= 0]] = True
    mended = np.where(target >= 0, pairs.object_label[target], pairs.label) if len(wanted) else pairs.label
    labels = np.stack([pairs.label, mended])
    order = np.argsort(labels, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(target))[None], axis=1)
    settled = _settle(
        pairs.image, pairs.label, pairs.matched[t], target, pairs.object_starts, pairs.object_label,
        pairs.counted, pairs.overlap, pairs.overlap_starts, COCO_THRESHOLDS[t],
    )  # fmt: skip
    still_open = pairs.by_image[settled[pairs.by_image] == 0]
    open_starts = np.searchsorted(pairs.image[still_open], np.arange(len(pairs.image_starts)))
    status = _match_mended(
        settled, open_starts, still_open, labels, order, place, target, wanted,
        pairs.object_starts, pairs.object_label, pairs.counted, pairs.crowd,
        pairs.overlap, pairs.overlap_starts, pairs.between, pairs.between_starts, COCO_THRESHOLDS[t],
    )  # fmt: skip
    _forgive(pairs, mended, place, status)
    classes = np.arange(pairs.num_classes + 1)
    starts = np.stack([np.searchsorted(label[o], classes) for label, o in zip(labels, order, strict=True)])
    return Mended(order, starts, status, wanted)


def _forgive(pairs: ImagePairs, mended: np.ndarray, place: np.ndarray, status: np.ndarray) -> None:
    """Ignore what finds nothing of a class not annotated exhaustively, with classes mended (D,) too."""
    again = np.flatnonzero(mended != pairs.label)
    after = pairs.lenient.copy()
    after[again] = pairs.lenient_as(again, mended[again])
    for ranking, lenient in enumerate((pairs.lenient, after)):
        at = place[ranking, np.flatnonzero(lenient)]
        for subset in (subset for subset in SUBSETS if subset & 1 == ranking):
            status[subset, at] = np.where(status[subset, at] == FALSE, IGNORED, status[subset, at])


def targets(pairs: ImagePairs, t: int, overlap: float) -> np.ndarray:
    """(D,) the object that a detection is about at IoU ``COCO_THRESHOLDS[t]``, or -1."""
    found: np.ndarray = _targets(
        pairs.image, pairs.label, pairs.lenient, pairs.matched[t], pairs.object_starts, pairs.object_label,
        pairs.counted, pairs.overlap, pairs.overlap_starts, overlap, max(overlap, OTHER_CLASS),
    )  # fmt: skip
    return found


def _average(pairs: ImagePairs, mended: Mended, weights: np.ndarray) -> np.ndarray:
    """(17, B) mean AP over the classes at one IoU, for each of ``SUBSETS``."""
    subsets = np.array(SUBSETS)
    result = np.full((len(subsets), weights.shape[1]), np.nan)
    for fewer, counted in ((0, pairs.counted), (MISSED, pairs.counted & mended.wanted)):
        number = ap.positives(pairs.object_image, pairs.object_label, counted, weights, pairs.num_classes)
        for ranking in (0, CLASSIFICATION):
            image = pairs.image[mended.order[ranking]]
            # Background apart, because it is either false in all subsets taken together or ignored in all:
            # such detections cost next to nothing.
            for dropped in (0, BACKGROUND):
                same = CLASSIFICATION | MISSED | BACKGROUND
                chosen = (subsets & same) == (ranking | fewer | dropped)
                status = mended.status[subsets[chosen]]
                by_class = ap.precision(mended.starts[ranking], image, status, weights, number)
                result[chosen] = ap.mean_over_classes(by_class, 1)
    return result


@compiled
def _targets(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    image, label, lenient, matched, object_starts, object_label, counted, overlap, overlap_starts,
    least, least_other,
):  # fmt: skip
    """(D,) the object that a detection is about, or -1; detections that crowds absorb have none.

    A detection that may be right about an object that is not annotated is about none of another class.
    """
    target = np.full(len(image), -1, dtype=np.int64)
    for d in range(len(image)):
        if matched[d] >= 0:
            if counted[matched[d]]:
                target[d] = matched[d]
            continue
        first = object_starts[image[d]]
        for own_class in (True, False):
            best = least if own_class else least_other
            for o in range(first, object_starts[image[d] + 1]):
                value = overlap[overlap_starts[d] + o - first]
                if not counted[o] or value < best or (own_class and object_label[o] != label[d]):
                    continue
                if value > best or target[d] < 0:
                    best = value
                    target[d] = o
            if target[d] >= 0 or lenient[d]:
                break
    return target


@compiled
def _best(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    image, label, object_starts, object_label, counted, overlap, overlap_starts
):
    """(G,) the largest overlap of an object with a detection of its class; 0 for objects that do not count.

    A detection speaks for the object that it overlaps most.
    """
    best = np.zeros(len(object_label))
    for d in range(len(image)):
        first, about, most = object_starts[image[d]], -1, 0.0
        for o in range(first, object_starts[image[d] + 1]):
            value = overlap[overlap_starts[d] + o - first]
            if counted[o] and object_label[o] == label[d] and value > most:
                about, most = o, value
        if about >= 0:
            best[about] = max(best[about], most)
    return best


@compiled
def _settle(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    image, label, matched, target, object_starts, object_label, counted, overlap, overlap_starts, threshold
):
    """(D,) uint8: 2 absorbed by a crowd, 1 background with nothing to find, 0 to be matched again."""
    settled = np.zeros(len(target), dtype=np.uint8)
    for d in range(len(target)):
        if matched[d] >= 0 and not counted[matched[d]]:
            settled[d] = 2
        elif target[d] < 0:
            settled[d] = 1
            first = object_starts[image[d]]
            for o in range(first, object_starts[image[d] + 1]):
                # An ignored object that is no crowd may become free.
                ignored = not counted[o] and object_label[o] == label[d]
                if ignored and overlap[overlap_starts[d] + o - first] >= min(threshold, 1 - 1e-10):
                    settled[d] = 0
    return settled


@compiled
def _match_mended(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    settled, open_starts, open_detections, labels, order, place, target, wanted,
    object_starts, object_label, counted, crowd, overlap, overlap_starts, between, between_starts, threshold,
):  # fmt: skip
    """(32, D) status after each of ``SUBSETS``; see ``Mended`` for its order."""
    status = np.empty((32, len(target)), dtype=np.uint8)
    for ranking in range(2):
        kinds = settled[order[ranking]]
        for subset in range(ranking, 32, 2):
            dropped = np.uint8(2 if subset & 4 else 0)
            for at in range(len(kinds)):
                status[subset, at] = dropped if kinds[at] == 1 else kinds[at]
    for i in range(len(open_starts) - 1):
        here = open_detections[open_starts[i] : open_starts[i + 1]]
        for subset in range(16 if len(here) else 0):
            if subset and not subset & 2:
                continue
            _match_image(
                subset, here, labels[subset & 1], place[subset & 1], target, wanted,
                object_starts[i], object_starts[i + 1], object_label, counted, crowd,
                overlap, overlap_starts, between, between_starts, min(threshold, 1 - 1e-10), status,
            )  # fmt: skip
    return status


@compiled
def _match_image(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0917
    subset, here, label, place, target, wanted, first, last,
    object_label, counted, crowd, overlap, overlap_starts, between, between_starts, limit, status,
):  # fmt: skip
    """Match the detections ``here`` of an image under a subset without and with the duplicate mend.

    pycocotools' rules, class by class.
    """
    relocate = subset & 2
    taken = np.zeros(last - first, dtype=np.bool_)
    for d in here:
        if subset & 4 and target[d] < 0:
            status[subset, place[d]] = 2
            status[subset | 16, place[d]] = 2
            continue
        best, best_ignored = limit, limit
        found, found_ignored = -1, -1
        near = False
        for o in range(first, last):
            if object_label[o] != label[d]:
                continue
            if relocate and target[d] >= 0:
                value = between[between_starts[target[d]] + o - first]
            else:
                value = overlap[overlap_starts[d] + o - first]
            if counted[o]:
                if subset & 8 and not wanted[o]:
                    continue
                near = near or value >= limit
                if not taken[o - first] and value >= best:
                    best = value
                    found = o
            elif (crowd[o] or not taken[o - first]) and value >= best_ignored:
                best_ignored = value
                found_ignored = o
        if found >= 0:
            taken[found - first] = True
            status[subset, place[d]] = 1
            status[subset | 16, place[d]] = 1
        elif found_ignored >= 0:
            taken[found_ignored - first] = True
            status[subset, place[d]] = 2
            status[subset | 16, place[d]] = 2
        elif near:
            status[subset | 16, place[d]] = 2
