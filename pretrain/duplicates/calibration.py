"""Where to draw the line: scores of planted copies, by kind of edit, against images of the same class.

Planted copies are what people do to a photo before they post it again, drawn from a seed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pretrain.duplicates.rmac import Vectors
from pretrain.shards.index import ShardIndex
from pretrain.stream import transforms
from pretrain.stream.transforms import Pixels
from wsl_det.core import seed as seeds

_QUALITY = 90
SCHEMA = 1
KIND = "duplicate calibration"
_STEPS = 41  # thresholds of a written curve
_MUCH = 0.01
_LOOKED_AT = 200_000  # images whose labels are read to find some that share one
Scores = NDArray[np.float32]
Edit = Callable[[Pixels, np.random.Generator], bytes]


def _jpeg(image: Pixels, quality: int = _QUALITY) -> bytes:
    done, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV packs every 8-bit image"
    return packed.tobytes()


def _window(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A window of about ``share`` of the area, of a shape up to a fifth longer or shorter, anywhere."""
    height, width = image.shape[:2]
    shape = rng.uniform(1 / 1.2, 1.2) ** 0.5
    h, w = (max(1, round(min(n, n * share**0.5 * s))) for n, s in ((height, shape), (width, 1 / shape)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return image[top : top + h, left : left + w]


def _resize(image: Pixels, rng: np.random.Generator) -> bytes:
    height, width = image.shape[:2]
    scale, shape = rng.uniform(0.25, 0.6), rng.uniform(0.9, 1.1)
    size = (max(8, round(width * scale * shape)), max(8, round(height * scale)))
    return _jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]


def _several(image: Pixels, rng: np.random.Generator) -> bytes:
    image = _written_on(_window(cv2.flip(image, 1), rng.uniform(0.6, 0.9), rng), rng)  # type: ignore[arg-type]
    return _jpeg(image, int(rng.integers(30, 60)))


def _written_on(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A caption in a band at the top or the bottom, as memes and reposts carry it."""
    image = image.copy()
    height, width = image.shape[:2]
    band = max(4, round(height * rng.uniform(0.1, 0.2)))
    top = 0 if rng.random() < 0.5 else height - band
    dark = bool(rng.random() < 0.5)
    cv2.rectangle(image, (0, top), (width, top + band), (0,) * 3 if dark else (255,) * 3, -1)
    words = "".join(chr(int(c)) for c in rng.integers(97, 123, 12))
    scale = width / 260
    where = (round(width * 0.05), top + round(band * 0.75))
    ink = (255,) * 3 if dark else (0,) * 3
    cv2.putText(image, words, where, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, max(1, round(2 * scale)))
    return image


EDITS: dict[str, Edit] = {
    "crop": lambda image, rng: _jpeg(_window(image, rng.uniform(0.5, 0.9), rng)),  # shares of the area
    "flip": lambda image, _: _jpeg(cv2.flip(image, 1)),  # type: ignore[arg-type]
    "recompress": lambda image, rng: _jpeg(image, int(rng.integers(15, 40))),
    "resize": _resize,  # to 25 to 60% of the side, the shape changed by up to a tenth
    "overlay": lambda image, rng: _jpeg(_written_on(image, rng)),  # a caption over 10 to 20% of the height
    "several": _several,  # flip, crop to 60 to 90%, overlay and recompression together
}


@dataclass(frozen=True)
class Plant:
    """Makes the planted copy of one kind: a file and its number to another file."""

    kind: str
    seed: int

    def __call__(self, data: bytes, row: int) -> bytes:
        """The edited copy; raises BadImage for a file that does not decode."""
        image = transforms.decode_any(data)
        return EDITS[self.kind](image, seeds.numpy_generator("plant", self.seed, self.kind, row))


@dataclass(frozen=True)
class Planted:
    """Scores of one test set's planted copies, each with its own original: {kind: (n,)}.

    ``kth`` are the scores of the originals' last kept neighbours, {kind: (n,)}: a copy that scores
    lower would have been crowded out of the list, whatever the threshold.
    """

    scores: Mapping[str, Scores]
    kth: Mapping[str, Scores]

    def recall(self, threshold: float) -> dict[str, float]:
        """Share of the copies of each kind that would have been found."""
        return {
            kind: float(((scores >= threshold) & (scores >= self.kth[kind])).mean())
            for kind, scores in self.scores.items()
        }

    def mean_recall(self, threshold: float) -> float:
        """Mean over the kinds, each counting the same."""
        return float(np.mean(list(self.recall(threshold).values())))


def choose(planted: Planted, target: float) -> float:
    """The highest threshold at which the mean recall over the kinds reaches ``target``.

    When even the lowest does not (copies were crowded out), the lowest score of a copy.
    """
    tried = np.unique(np.concatenate(list(planted.scores.values())))[::-1]
    # Recall only rises as the threshold falls.
    reached = bisect_left(tried, True, hi=len(tried) - 1, key=lambda t: planted.mean_recall(t) >= target)
    return float(tried[reached])


def separation(copies: Scores, others: Scores) -> float | None:
    """Probability that a planted copy scores above a pair of the same class; ties count half."""
    if not len(copies) or not len(others):
        return None
    ordered = np.sort(others)
    below = np.searchsorted(ordered, copies, side="left")
    upto = np.searchsorted(ordered, copies, side="right")
    return float((below + upto).mean() / 2 / len(others))


def class_mates(posts: ShardIndex, images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n, 2) rows, ascending, of pairs of training images that share a label, from about ``images`` images.

    Labels are drawn uniformly, so that frequent tags do not fill the list, and up to four images of
    each are paired with one another.
    """
    rows = np.arange(len(posts))
    if len(rows) > _LOOKED_AT:
        rows = np.sort(rng.choice(len(rows), _LOOKED_AT, replace=False))
    members: dict[int, list[int]] = {}
    for row in rows.tolist():
        for label in posts.labels(row).tolist():
            members.setdefault(label, []).append(row)
    shared = [group for _, group in sorted(members.items()) if len(group) > 1]
    taken: set[int] = set()
    pairs: set[tuple[int, int]] = set()
    for place in rng.permutation(len(shared)).tolist():
        if len(taken) >= images:
            break
        group = sorted(rng.choice(shared[place], min(4, len(shared[place])), replace=False).tolist())
        taken.update(group)
        pairs.update(combinations(group, 2))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def pair_scores(views: tuple[Vectors, ...], others: Vectors) -> Scores:
    """(n,) scores of row i of the views with row i of ``others``, the best over the views."""
    return np.max([np.einsum("nd,nd->n", view, others) for view in views], axis=0).astype(np.float32)


def record(
    planted: Planted, mates: Scores, *, threshold: float, target: float | None, given: bool
) -> dict[str, Any]:
    """One test set of calibration.json; shares are fractions, ``None`` where nothing was measured."""
    copies = np.concatenate(list(planted.scores.values())) if planted.scores else np.zeros(0, np.float32)
    found: dict[str, Any] = {
        "threshold": threshold,
        "threshold_from": "given" if given else f"the highest with a mean recall of {target:g}",
        "target": target,
        "mean_recall": planted.mean_recall(threshold) if planted.scores else None,
        "kinds": {kind: _kind(planted, kind, threshold) for kind in planted.scores},
        "same_class": {
            "pairs": len(mates),
            "share_above": float((mates >= threshold).mean()) if len(mates) else None,
            "quantiles": _quantiles(mates) if len(mates) else None,
        },
        "separation": separation(copies, mates),
        "curve": _curve(planted, mates, copies),
        "notes": [],
    }
    if not given and (found["mean_recall"] or 0.0) < (target or 0.0):
        found["notes"].append(
            f"no threshold reaches a mean recall of {target:g}: planted copies are crowded out of the kept "
            "neighbours by other images; keep more (--neighbours)"
        )
    if (found["same_class"]["share_above"] or 0.0) > _MUCH:
        found["notes"].append(
            f"{found['same_class']['share_above']:.1%} of the pairs of the same class score above the "
            "threshold: the score hardly tells copies from images of one class here; try another --level "
            "or backbone, or a larger --size"
        )
    return found


def _kind(planted: Planted, kind: str, threshold: float) -> dict[str, Any]:
    scores = planted.scores[kind]
    return {
        "copies": len(scores),
        "recall": planted.recall(threshold)[kind],
        "crowded_out": int((scores < planted.kth[kind]).sum()),
        "quantiles": _quantiles(scores),
    }


def _quantiles(scores: Scores) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(scores, q)) for q in (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0)}


def _curve(planted: Planted, mates: Scores, copies: Scores) -> list[dict[str, Any]]:
    every = np.concatenate([copies, mates])
    if not len(every):
        return []
    rows = []
    for threshold in np.linspace(float(every.min()), min(1.0, float(every.max())), _STEPS):
        above = float((mates >= threshold).mean()) if len(mates) else None
        rows.append({"threshold": float(threshold), "recall": planted.recall(threshold), "same_class": above})
    return rows
