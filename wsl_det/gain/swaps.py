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
_SETTLED = 25
"""Nor one where none was in so many swaps per class tested: below 0.05 / K, it stands at any rank."""
_BLOCK = 128
_TIE = 1e-9


def overall(
    a: MatchTable, b: MatchTable, observed: np.ndarray, seed: int, track: measures.Progress = measures.quiet
) -> np.ndarray:
    """(S,) two-sided p of the ``observed`` (S,) differences, laid out as ``measures.Layout``."""
    both = resamples.merged(a, b)
    flips = resamples.coins(a.num_images, SWAPS, seed)
    swapped_a, swapped_b = measures.swapped(both, flips, track=track)
    # The swap that exchanges nothing is one of the possible ones, hence the 1 on both sides.
    extreme = np.abs(swapped_b - swapped_a) >= np.abs(observed)[:, None] - _TIE
    return np.where(np.isnan(observed), np.nan, (1 + extreme.sum(axis=1)) / (1 + SWAPS))


def by_class(
    a: MatchTable, b: MatchTable, observed: np.ndarray, seed: int, track: measures.Progress = measures.quiet
) -> np.ndarray:
    """(K,) two-sided p of the ``observed`` (K,) gains in the AP of each class, fine enough for control.

    Up to 20,000 swaps a class. They stop at the 100th that is as extreme as the gain, where p is 100
    over the swaps made (Besag and Clifford 1991), and after 25 K swaps of which none was, where p is
    below 0.05 / K. Both keep p valid and leave the swaps to the classes that are in doubt.
    """
    both = resamples.merged(a, b)
    number = np.bincount(a.object_class[a.counts[0]], minlength=a.num_classes)

    def one(k: int) -> float:
        if np.isnan(observed[k]):
            return float("nan")
        rows = slice(both.class_starts[k], both.class_starts[k + 1])
        rng = seeds.numpy_generator("gain class swaps", seed, k)
        return _one_class(both, rows, int(number[k]), abs(float(observed[k])), rng)

    return np.array(list(track(threads.in_order(one, range(a.num_classes)), a.num_classes)))


def _one_class(
    both: MatchTable, rows: slice, objects: int, observed: float, rng: np.random.Generator
) -> float:
    num_images = len(both.image_ids)
    # Only images in which a side detects the class can make a difference.
    own, side = both.image[rows] % num_images, both.image[rows] // num_images
    names, image = np.unique(own, return_inverse=True)
    image = (image + side * len(names)).astype(np.int32)
    status = np.ascontiguousarray(both.status[0, FIRST_COCO:, rows])
    starts = np.array([0, len(image)])
    settled = _SETTLED * both.num_classes
    extreme = done = 0
    while done < CLASS_SWAPS and (extreme > 0 or done < settled):
        flip = rng.integers(2, size=(len(names), min(_BLOCK, CLASS_SWAPS - done)), dtype=np.uint8)
        positives = np.full((1, flip.shape[1]), objects)
        one = ap.precision(starts, image, status, np.concatenate([1 - flip, flip]), positives)[:, 0]
        other = ap.precision(starts, image, status, np.concatenate([flip, 1 - flip]), positives)[:, 0]
        as_far = 100 * np.abs((other - one).mean(axis=0)) >= observed - _TIE
        if extreme + as_far.sum() >= ENOUGH:
            return ENOUGH / (done + 1 + int(np.searchsorted(np.cumsum(as_far), ENOUGH - extreme)))
        extreme += int(as_far.sum())
        done += flip.shape[1]
    return (1 + extreme) / (1 + done)
