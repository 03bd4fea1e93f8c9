"""What two result lists cover (docs/method.md): images, scores, limits, and the conventions they fit.

Lists that do not cover the same invent causes: the same detector cut at a score of .5 reads as recognition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.evaluation import conventions
from wsl_det.gain.like_for_like import Difference, header_value
from wsl_det.predictions import Predictions

FEWEST = 5
SHARE = 0.05
"""Images without detections that are let pass: fewer than five, or one in twenty."""
KEPT = 2 / 3
"""Least share of a side's detections above the other side's lowest score."""
LIMITS = (("MODEL", "ROI_HEADS", "SCORE_THRESH_TEST"), ("TEST", "DETECTIONS_PER_IMAGE"))


@dataclass(frozen=True)
class Coverage:
    """A list as the page shows it: ``without`` images have no detection, ``at_limit`` have ``most``."""

    source: str
    images: int
    without: int
    detections: int
    detections_an_image: float
    lowest_score: float | None
    highest_score: float | None
    most: int
    at_limit: int


@dataclass(frozen=True)
class _List:
    run: Predictions
    counts: np.ndarray
    shown: Coverage
    limits_known: bool


def check(
    baseline: Sequence[Predictions], candidate: Sequence[Predictions], truth: GroundTruth
) -> tuple[dict[str, list[dict[str, Any]]], list[Difference], list[str]]:
    """(what each list covers, by side; differences that must not be; sentences a reader should know)."""
    sides = [[_list(run, truth) for run in runs] for runs in (baseline, candidate)]
    strange = [conventions.strange(one.run, truth) for one in (*sides[0], *sides[1])]
    found = [Difference(*one, False) for one in strange if one is not None]
    for a in sides[0]:
        for b in sides[1]:
            found += _between(a, b)
    # Runs of one side have to cover the same, too.
    for runs in sides:
        for other in runs[1:]:
            found += _between(
                runs[0], other, f"{runs[0].run.source} | {other.run.source}, runs of one side, "
            )
    notes = []
    if len(baseline) == len(candidate) == 1 and _identical(baseline[0], candidate[0]):
        notes.append("the two lists are identical: every gain is 0 and every p is 1")
    notes += [_without(one) for one in (*sides[0], *sides[1]) if one.shown.without]
    shown = {
        name: [asdict(one.shown) for one in runs]
        for name, runs in zip(("baseline", "candidate"), sides, strict=True)
    }
    return shown, list(dict.fromkeys(found)), notes


def _list(run: Predictions, truth: GroundTruth) -> _List:
    known = np.isin(run.image_ids, truth.image_ids)
    places = np.searchsorted(truth.image_ids, run.image_ids[known])
    counts = np.bincount(places, minlength=len(truth.image_ids))
    most = int(counts.max(initial=0))
    shown = Coverage(
        source=run.source,
        images=len(counts),
        without=int((counts == 0).sum()),
        detections=len(run),
        detections_an_image=len(run) / max(len(counts), 1),
        lowest_score=float(run.scores.min()) if len(run) else None,
        highest_score=float(run.scores.max()) if len(run) else None,
        most=most,
        at_limit=int((counts == most).sum()) if most else 0,
    )
    meta = run.meta or {}
    stamped = header_value(meta, "predictions", "sha256") is not None
    return _List(
        run, counts, shown, stamped and all(header_value(meta, "config", *key) is not None for key in LIMITS)
    )


def _between(a: _List, b: _List, prefix: str = "") -> list[Difference]:
    """Differences of two lists; what headers say about thresholds and limits is compared elsewhere."""
    told = a.limits_known and b.limits_known
    rows: list[tuple[str, str, str]] = []
    if not len(a.run) or not len(b.run):
        return []  # a detector that finds nothing at all is plain to see, and its gain undefined
    alone = [int(((one.counts == 0) & (other.counts > 0)).sum()) for one, other in ((a, b), (b, a))]
    if not told and max(alone) > max(SHARE * len(a.counts), FEWEST - 1):
        rows.append(("images without detections", _without(a, short=True), _without(b, short=True)))
    if any(
        _cut_by_score(one, other) and not (told and len(one.run) < len(one.counts))
        for one, other in ((a, b), (b, a))
    ):
        rows.append(("scores", _scores(a, b), _scores(b, a)))
    if not told and (_cut_by_number(a, b) or _cut_by_number(b, a)):
        rows.append(("detections an image", _limit(a), _limit(b)))
    return [Difference(prefix + key, left, right, False) for key, left, right in rows]


def _cut_by_score(one: _List, other: _List) -> bool:
    """Whether the lowest score of ``one`` looks like a threshold that ``other`` does not have."""
    if 2 * one.shown.at_limit >= len(one.counts):
        return False
    return _above(one, other) < KEPT


def _above(one: _List, other: _List) -> float:
    """The share of ``other``'s detections at or above the lowest score of ``one``."""
    return float((other.run.scores >= one.run.scores.min()).mean())


def _cut_by_number(one: _List, other: _List) -> bool:
    """Whether the images of ``one`` pile up at its largest number, which ``other`` often exceeds."""
    few = max(SHARE * len(one.counts), FEWEST - 1)
    before = int((one.counts == one.shown.most - 1).sum())
    beyond = int((other.counts > one.shown.most).sum())
    return one.shown.most > 0 and one.shown.at_limit > max(few, 2 * before) and beyond > few


def _identical(a: Predictions, b: Predictions) -> bool:
    if len(a) != len(b) or (a.boxes_xywh is None) != (b.boxes_xywh is None):
        return False
    orders = [np.lexsort((run.scores, run.category_ids, run.image_ids)) for run in (a, b)]
    columns = ("image_ids", "category_ids", "scores", *(("boxes_xywh",) if a.boxes_xywh is not None else ()))
    same = all(np.array_equal(getattr(a, c)[orders[0]], getattr(b, c)[orders[1]]) for c in columns)
    if not same or a.masks is None or b.masks is None:
        return same and a.masks is b.masks
    return all(a.masks[int(i)] == b.masks[int(j)] for i, j in zip(*orders, strict=True))


def _without(one: _List, *, short: bool = False) -> str:
    said = f"no detections on {one.shown.without} of {one.shown.images} images"
    return said if short else f"{one.run.source}: {said}"


def _scores(one: _List, other: _List) -> str:
    kept = 100 * _above(other, one)
    return f"from {one.run.scores.min():.3g}; {kept:.0f}% at or above the other side's lowest"


def _limit(one: _List) -> str:
    return f"at most {one.shown.most}, on {one.shown.at_limit} of {one.shown.images} images"
