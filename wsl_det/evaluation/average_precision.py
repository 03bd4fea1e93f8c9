"""Average precision and recall of a ranked list, for many weightings of the images at once.

A weighting says how often an image counts: 1 for the plain numbers, multiplicities for a bootstrap
resample. Ranking is done once, in the match table; no replicate sorts again.
Integer weights give what the duplicated data would give, because at the copies of a true positive
both precision and recall only rise, so the last copy decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_det.core.compiled import compiled
from wsl_det.evaluation.match_table import IGNORED, TRUE

_RECALLS = np.linspace(0, 1, 101)
_LATE = [i for i in range(101) if i * 0.01 > i / 100]
"""Recall points that numpy.linspace rounds up: a recall of just i / 100 does not reach them, in COCO's AP."""
_LATE_LOW = np.uint64(sum(1 << i for i in _LATE if i < 64))
_LATE_HIGH = np.uint64(sum(1 << (i - 64) for i in _LATE if i >= 64))


def plain(class_starts: np.ndarray, status: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """(T, K) as ``precision`` has it under one weighting of 1 for every image, without compiled loops."""
    objects = positives[:, None]
    # So many true positives reach a recall point, by pycocotools' rounding of both.
    needed = np.floor(_RECALLS * objects).astype(np.int64)
    needed += needed / np.maximum(objects, 1) < _RECALLS
    needed = np.maximum(needed, 1)
    result = np.empty((len(status), len(positives)))
    for t, row in enumerate(status):
        true = np.flatnonzero(row == TRUE)
        starts = np.searchsorted(true, class_starts)
        ignored = np.flatnonzero(row == IGNORED)
        # Of its class, how many true positives and how many that count there are up to each true positive.
        number = np.arange(1, len(true) + 1) - np.repeat(starts[:-1], np.diff(starts))
        before = class_starts[:-1] - np.searchsorted(ignored, class_starts[:-1])
        seen = true + 1 - np.searchsorted(ignored, true) - np.repeat(before, np.diff(starts))
        values = np.r_[number / (seen + np.spacing(1.0)), 0.0]
        reaches = starts[:-1, None] + needed - 1
        there = reaches < starts[1:, None]
        # Interpolation: the highest from a recall point to the next, then from the last point to the first.
        reaches = np.where(there, reaches, starts[1:, None])
        highest = np.maximum.reduceat(values, reaches.ravel()).reshape(reaches.shape) * there
        result[t] = np.maximum.accumulate(highest[:, ::-1], axis=1).sum(axis=1) / len(_RECALLS)
    return np.where(positives > 0, result, np.nan)


@compiled
def precision(class_starts, image, status, weights, positives):  # type: ignore[no-untyped-def]
    """(T, K, B) 101-point interpolated AP in [0, 1], nan where a class has no object.

    class_starts (K + 1,), image (D,) rows of weights, status (T, D) uint8 as in a match table,
    weights (I, B) uint8, positives (K, B) int64 weighted objects.
    """
    num_thresholds, num_classes, num = len(status), len(class_starts) - 1, weights.shape[1]
    result = np.full((num_thresholds, num_classes, num), np.nan)
    for k in range(num_classes):
        if positives[k].max() == 0:
            continue
        # Most detections are false at every threshold and only count as seen. They are added up once;
        # what a threshold goes through are the others, with how many of the false ones came before.
        events, after_false, false_before = _events(
            class_starts[k], class_starts[k + 1], image, status, weights
        )
        true = np.empty((len(events), num), dtype=np.int32)
        seen = np.empty((len(events), num), dtype=np.int32)
        for t in range(num_thresholds):
            ends = _count(t, events, after_false, false_before, image, status, weights, true, seen)
            total = _interpolate(true, seen, ends, positives[k])
            for b in range(num):
                if positives[k, b] > 0:
                    result[t, k, b] = total[b] / 101
    return result


@compiled
def _events(start, stop, image, status, weights):  # type: ignore[no-untyped-def]
    """(events (E,), after_false (E,), false_before (E, B)): detections neither false nor ignored throughout.

    false_before counts the detections that are false at every threshold and come before an event;
    after_false says whether any of them comes between the event and the one before.
    """
    num = weights.shape[1]
    events = np.empty(stop - start, dtype=np.int64)
    number = 0
    for d in range(start, stop):
        low, high = status[0, d], status[0, d]
        for t in range(1, len(status)):
            low, high = min(low, status[t, d]), max(high, status[t, d])
        if low != high or high == 1:
            events[number] = d
            number += 1
    false_before = np.empty((number, num), dtype=np.int32)
    after_false = np.zeros(number, dtype=np.bool_)
    seen_now = np.zeros(num, dtype=np.int32)
    e = 0
    for d in range(start, events[number - 1] + 1 if number else start):
        if events[e] == d:
            false_before[e] = seen_now
            e += 1
        elif status[0, d] == 0:
            after_false[e] = True
            row = weights[image[d]]
            for b in range(num):
                seen_now[b] += row[b]
    return events[:number], after_false, false_before


@compiled
def _count(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    t, events, after_false, false_before, image, status, weights, true, seen
):
    """Fill true and seen (E, B) with the counts at the ends of the runs of true positives; their number.

    In a run of true positives with no false one between them precision only rises, so the last of them
    answers for the recall points of all: AP needs no more than the ends.
    """
    num = weights.shape[1]
    true_now = np.zeros(num, dtype=np.int32)
    seen_now = np.zeros(num, dtype=np.int32)
    ends = 0
    in_run = False
    for e in range(len(events)):
        d = events[e]
        in_run = in_run and not after_false[e]
        if status[t, d] == 2:
            continue
        row = weights[image[d]]
        if status[t, d] == 1:
            ends -= in_run
            before = false_before[e]
            for b in range(num):
                true_now[b] += row[b]
                seen_now[b] += row[b]
                true[ends, b] = true_now[b]
                seen[ends, b] = seen_now[b] + before[b]
            ends += 1
            in_run = True
        else:
            in_run = False
            for b in range(num):
                seen_now[b] += row[b]
    return ends


@compiled
def _interpolate(true, seen, ends, positives):  # type: ignore[no-untyped-def]
    """(B,) sum of interpolated precision over the 101 recall points.

    From the last run of true positives to the first: precision becomes the highest further on, and each
    run answers for the recall points that it is the first to reach. One short loop for each step
    and few arrays in each, because only such loops become vector instructions.
    """
    num = len(positives)
    total, scale = np.zeros(num), np.zeros(num)
    if ends == 0:
        return total
    for b in range(num):
        scale[b] = 100.0 / max(positives[b], 1)
    highest, reached = np.zeros(num), np.empty(num)
    value, before = np.empty(num), np.empty(num)
    _points_reached(true[ends - 1], scale, reached)
    for j in range(ends - 1, -1, -1):
        _precision_of(true[j], seen[j], value)
        for b in range(num):
            highest[b] = value[b] if value[b] > highest[b] else highest[b]
        if j > 0:
            _points_reached(true[j - 1], scale, before)
        else:
            before[:] = 0.0
        for b in range(num):
            total[b] += highest[b] * (reached[b] - before[b])
        reached, before = before, reached
    return total


@compiled
def _precision_of(true, seen, value):  # type: ignore[no-untyped-def]
    eps = np.spacing(1.0)
    for b in range(len(value)):
        value[b] = true[b] / (seen[b] + eps)


@compiled
def _points_reached(true, scale, points):  # type: ignore[no-untyped-def]
    """How many of the recall points 0, 0.01, ... 1 are reached by true (B,) of 100 / scale (B,) objects.

    Adding 1e-9 makes up for any rounding and cannot pass a point that is not met: recalls, in hundredths,
    are at least 1 / objects away from those. A point met exactly is one of ``_LATE`` or counts.
    """
    for b in range(len(points)):
        hundredths = true[b] * scale[b] + 1e-9
        i = np.floor(hundredths)
        n = np.int64(i)
        late = ((_LATE_HIGH if n >= 64 else _LATE_LOW) >> np.uint64(n & 63)) & np.uint64(1)
        points[b] = i + 1.0 - (np.float64(late) if hundredths - i < 3e-9 else 0.0)


@compiled
def positives(object_image, object_class, counts, weights, num_classes):  # type: ignore[no-untyped-def]
    """(K, B) int64 weighted number of objects that count; counts is (G,) bool."""
    total = np.zeros((num_classes, weights.shape[1]), dtype=np.int32)
    for o in range(len(object_image)):
        if counts[o]:
            row, sums = weights[object_image[o]], total[object_class[o]]
            for b in range(len(sums)):
                sums[b] += row[b]
    return total.astype(np.int64)


@compiled
def hits(class_starts, image, found, weights):  # type: ignore[no-untyped-def]
    """(R, K, B) int64 sums of found (R, D) uint8 over the detections of a class, weighted by image."""
    num_rows, num_classes, num = len(found), len(class_starts) - 1, weights.shape[1]
    total = np.zeros((num_rows, num_classes, num), dtype=np.int32)
    for k in range(num_classes):
        for d in range(class_starts[k], class_starts[k + 1]):
            row = weights[image[d]]
            for r in range(num_rows):
                times = np.int32(found[r, d])
                if times > 0:
                    sums = total[r, k]
                    for b in range(num):
                        sums[b] += times * np.int32(row[b])
    return total.astype(np.int64)


def mean_over_classes(values: np.ndarray, axes: Sequence[int] | int) -> np.ndarray:
    """Mean over ``axes``, classes without objects (nan) left out; nan where nothing is defined."""
    there = ~np.isnan(values)
    number = there.sum(axis=tuple(np.atleast_1d(axes)))
    total = np.where(there, values, 0.0).sum(axis=tuple(np.atleast_1d(axes)))
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)
