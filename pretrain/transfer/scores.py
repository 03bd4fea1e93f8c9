"""Answers on test images to accuracies: top-1 and top-5 with Wilson intervals, by class, and confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsl_det.core import verdicts
from wsl_det.errors import DataError

RANKS = 5
_FEW = 6  # classes from which on top-5 can be wrong
UNREADABLE = -1


@dataclass(frozen=True)
class Answers:
    """What a classifier said: ``top`` (N, at most 5) class ids, best first; ``labels`` (N,) the true ids.

    A row of an image that could not be read is UNREADABLE throughout. ``right`` overrides, per answer,
    what counts as right where ids alone do not tell; (N, at most 5). ``strict`` are those of them that
    are right by a stricter rule.
    """

    labels: NDArray[np.int64]
    top: NDArray[np.int64]
    right: NDArray[np.bool_] | None = None
    strict: NDArray[np.bool_] | None = None

    @property
    def hits(self) -> NDArray[np.bool_]:
        """(N, at most 5) which answers are right."""
        return self.top == self.labels[:, None] if self.right is None else self.right


def best(given: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, at most 5) best columns of (N, K) scores, best first; among equals the lower id first."""
    top = np.argsort(-given, axis=1, kind="stable")[:, :RANKS].astype(np.int64)
    top[~usable] = UNREADABLE
    return top


def wilson(right: int, number: int) -> list[float] | None:
    """The 95% interval, in percent, of a share that was ``right`` of ``number`` (Wilson, 1927); None of 0."""
    if number == 0:
        return None
    from scipy.stats import binomtest

    found = binomtest(right, number).proportion_ci(0.95, "wilson")
    return [100 * float(found.low), 100 * float(found.high)]


def share(right: int, number: int) -> dict[str, Any]:
    """``{"value": percent, "interval": [low, high]}``; nulls when there is no image."""
    return {"value": 100 * right / number if number else None, "interval": wilson(right, number)}


def record(
    answers: Answers,
    classes: Sequence[str],
    *,
    duplicate: NDArray[np.bool_] | None = None,
    mode: str | None = None,
    answerable: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The accuracies in a result file, in percent.

    ``duplicate`` (N,) marks images that were seen in training, which ``mode`` leaves out ("exclude") or
    counts as wrong ("wrong", a lower bound). ``answerable`` names what can be answered when that is not
    ``classes``. DataError when no image is left.
    """
    names = list(classes if answerable is None else answerable)
    hits = answers.hits
    seen = np.zeros(len(answers.labels), dtype=np.bool_) if duplicate is None else duplicate
    kept = ~seen if mode == "exclude" else np.ones_like(seen)
    if not kept.any():
        raise DataError("every test image is a duplicate of a training image; nothing is left to measure on")
    first: NDArray[np.bool_] = hits[:, 0]
    five: NDArray[np.bool_] = np.logical_or.reduce(hits, axis=1)
    credited = first & ~seen if mode else first
    top1 = _share(first, seen, mode)
    found: dict[str, Any] = {"top1": top1, "top5": None}
    if len(names) >= _FEW:
        found["top5"] = _share(five, seen, mode)
    else:
        found["top5_reason"] = f"{len(names)} classes: top-5 tells nothing below {_FEW}"
    if answers.strict is not None:
        found["top1_strict"] = _share(answers.strict[:, 0], seen, mode)
        found["top5_strict"] = _share(np.logical_or.reduce(answers.strict, axis=1), seen, mode)
    by_class = _by_class(credited, kept, answers.labels, classes)
    means = [one["top1"]["value"] for one in by_class if one["images"]]
    return {
        **found,
        "mean_class_top1": float(np.mean(means)),
        "images": int(kept.sum()),
        "classes": len(classes),
        "by_class": by_class,
        "confusion": _confusion(answers, kept, list(classes), names),
    }


def _share(right: NDArray[np.bool_], seen: NDArray[np.bool_], mode: str | None) -> dict[str, Any]:
    if mode is None:
        return share(int(right.sum()), len(right))
    number = len(right) if mode == "wrong" else int((~seen).sum())
    # The one definition of the lower bound is that of the verdicts.
    value = verdicts.accuracy(right, seen, mode)
    return {"value": 100 * value, "interval": wilson(round(value * number), number)}


def _by_class(
    credited: NDArray[np.bool_], kept: NDArray[np.bool_], labels: NDArray[np.int64], classes: Sequence[str]
) -> list[dict[str, Any]]:
    images = np.bincount(labels[kept], minlength=len(classes))
    right = np.bincount(labels[kept & credited], minlength=len(classes))
    return [
        {"class": name, "images": int(n), "right": int(r), "top1": share(int(r), int(n))}
        for name, n, r in zip(classes, images, right, strict=True)
    ]


def _confusion(
    answers: Answers, kept: NDArray[np.bool_], classes: list[str], names: list[str]
) -> dict[str, Any]:
    """Counts of (true, answered) pairs that occur; unreadable images answer null."""
    given = Counter(zip(answers.labels[kept].tolist(), answers.top[kept, 0].tolist(), strict=True))
    right = answers.hits[:, 0]
    wrong = kept & ~right & (answers.top[:, 0] != UNREADABLE)
    pairs = Counter(zip(answers.labels[wrong].tolist(), answers.top[wrong, 0].tolist(), strict=True))
    most = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:10]
    return {
        "true": classes,
        "answered": names,
        "counts": [[t, None if a == UNREADABLE else a, n] for (t, a), n in sorted(given.items())],
        "most_confused": [
            {
                "true": classes[t],
                "answered": names[a],
                "images": n,
                "of": int((answers.labels[kept] == t).sum()),
            }
            for (t, a), n in most
        ],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The accuracies as lines to read."""
    text = []
    for name in ("top1", "top5"):
        one = found.get(name)
        if one is None or one["value"] is None:
            text.append(f"{name}  not given ({found.get(f'{name}_reason', 'no images')})")
        else:
            low, high = one["interval"]
            text.append(f"{name}  {one['value']:.2f}% [{low:.2f}, {high:.2f}]")
    text.append(f"{found['images']:,} images, {found['classes']:,} classes")
    confused = [
        f"  {one['true']} taken for {one['answered']}: {one['images']} of {one['of']}"
        for one in found["confusion"]["most_confused"][:5]
    ]
    return [*text, *(["most confused:", *confused] if confused else [])]
