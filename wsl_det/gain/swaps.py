"""Paired sign-swap tests: were the two sides alike, exchanging them image by image would change nothing."""

from __future__ import annotations

import numpy as np

from wsl_det.core import seed as seeds
from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable
from wsl_det.gain import measures, resamples, threads

SWAPS = 1000
CLASS_SWAPS = 20_000
ENOUGH = 100
"""A class whose swaps were this often as extreme as its gain needs no more of them."""
_SETTLED = 20
"""Nor one where none was in so many swaps per class tested: p is below 0.05 / K and stands at any rank."""
_BLOCK = 128
_TIE = 1e-9
METHOD = (
    f"exchanging the sides image by image: {SWAPS} swaps for the metrics; for a class up to {CLASS_SWAPS}, "
    f"stopped early at {ENOUGH} as extreme as its gain, or where none was after {_SETTLED} for each class "
    f"(at least {SWAPS}); p is exact for this rule of stopping"
)


def p_values(  # noqa: PLR0917
    a: MatchTable,
    b: MatchTable,
    observed: np.ndarray,
    classes: slice,
    seed: int,
    track: measures.Progress = measures.quiet,
) -> np.ndarray:
    """(S,) two-sided p of the ``observed`` (S,) gains, laid out as ``measures.Layout``.

    1,000 swaps for every number. For the AP of the classes, the rows ``classes``, they are the first of up
    to 20,000: false discovery over K classes asks for p as small as 0.05 / K. See ``exact_p`` for when
    they stop and what p then is. nan where the gain is undefined, and for the anchors.
    """
    both = resamples.merged(a, b)
    flips = resamples.coins(a.num_images, SWAPS, seed)
    swapped_a, swapped_b = measures.swapped(both, flips, track=track)
    extreme = np.abs(swapped_b - swapped_a) >= np.abs(observed)[:, None] - _TIE
    # The swap that exchanges nothing is one of the possible ones, hence the 1 on both sides.
    p = np.where(np.isnan(observed - swapped_a[:, 0]), np.nan, (1 + extreme.sum(axis=1)) / (1 + SWAPS))
    number = np.bincount(a.object_class[a.counts[0]], minlength=a.num_classes)

    def one(k: int) -> float:
        gain = float(observed[classes][k])
        if np.isnan(gain):
            return float("nan")
        rows = slice(both.class_starts[k], both.class_starts[k + 1])
        rng = seeds.numpy_generator("gain class swaps", seed, k)
        return _one_class(both, rows, int(number[k]), abs(gain), extreme[classes][k], rng)

    p[classes] = list(track(threads.in_order(one, range(a.num_classes)), a.num_classes))
    return p


def exact_p(hits: int, swaps: int, settled: int) -> float:
    """The chance, where the sides are alike, of an end of the swaps that says as much as this one or more.

    The swaps end with the first of: none as extreme as the gain among the first ``settled`` (``hits`` 0, the
    end that says most); the 100th that is (``hits`` 99 among the ``swaps`` before it); 20,000 swaps. Of n
    swaps any number 0 .. n of hits is equally likely then, in any order, so the chance of at most h hits is
    (h + 1) / (n + 1), Besag and Clifford's p (1991); to it come the cases with more hits, none of them
    among the first m, each with a chance of C(n - m, j) / C(n, j) / (n + 1).
    """
    if swaps <= settled:
        return (hits + 1) / (swaps + 1)
    j = np.arange(1, swaps - settled + 1)
    none_first = np.cumprod((swaps - settled - j + 1) / (swaps - j + 1))
    return (hits + 1 + float(none_first[hits:].sum())) / (swaps + 1)


def _one_class(  # noqa: PLR0917
    both: MatchTable, rows: slice, objects: int, observed: float, first: np.ndarray, rng: np.random.Generator
) -> float:
    """p of one class; ``first`` (SWAPS,) tells which of the swaps made already were as extreme."""
    num_images = len(both.image_ids)
    # Only images in which a side detects the class can make a difference.
    own, side = both.image[rows] % num_images, both.image[rows] // num_images
    names, image = np.unique(own, return_inverse=True)
    image = (image + side * len(names)).astype(np.int32)
    status = np.ascontiguousarray(both.status[0, FIRST_COCO:, rows])
    starts = np.array([0, len(image)])
    settled = max(_SETTLED * both.num_classes, SWAPS)
    as_far, extreme, done = first, 0, 0
    while True:
        if extreme + as_far.sum() >= ENOUGH:
            swaps = done + int(np.searchsorted(np.cumsum(as_far), ENOUGH - extreme))
            return exact_p(ENOUGH - 1, swaps, settled)
        extreme += int(as_far.sum())
        done += len(as_far)
        if done >= CLASS_SWAPS or (extreme == 0 and done >= settled):
            return exact_p(extreme, done, settled)
        left = settled - done if done < settled else CLASS_SWAPS - done
        flip = rng.integers(2, size=(len(names), min(_BLOCK, left)), dtype=np.uint8)
        positives = np.full((1, flip.shape[1]), objects)
        one = ap.precision(starts, image, status, np.concatenate([1 - flip, flip]), positives)[:, 0]
        other = ap.precision(starts, image, status, np.concatenate([flip, 1 - flip]), positives)[:, 0]
        as_far = 100 * np.abs((other - one).mean(axis=0)) >= observed - _TIE
