"""Result files of three kinds, read alike: a number in percent, its interval, its test set, its pretraining.

``results.json`` of a pretraining run (recall of held-out posts), ``R.json`` of eval_transfer (top-1 and
top-5), ``results.json`` of a detector (AP).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl_det.core import files
from wsl_det.errors import DataError

Z95 = 1.959963984540054
IOU_TYPES = ("bbox", "segm")
_ROUNDING = 1e-9
_TEST_ROLES = ("gt", "val", "test", "data", "dataset")


@dataclass(frozen=True)
class Reading:
    """A number of a file in percent, with its 95% interval over test images where one is known.

    ``chance`` is what a constant guess scores, where the file says it.
    """

    value: float
    interval: tuple[float, float] | None
    chance: float | None = None


def read(path: Path) -> dict[str, Any]:
    """The object in a result file of any kind. Raises DataError for anything else."""
    tree = files.read_json(path, "result file")
    if not isinstance(tree, dict) or not available(tree):
        raise DataError(
            f"{path} is no result file: expected top1 and top5 (eval_transfer), recall (a pretraining run "
            "with held-out posts) or bbox/segm (a detector)"
        )
    return tree


def available(tree: Mapping[str, Any]) -> list[str]:
    """Names of the numbers in a result file, as ``metric`` takes them."""
    names = [name for name in ("top1", "top5") if isinstance(tree.get(name), Mapping)]
    recall = tree.get("recall")
    names += [str(name) for name in recall if "@" in str(name)] if isinstance(recall, Mapping) else []
    for iou_type in IOU_TYPES:
        if isinstance(tree.get(iou_type), Mapping):
            names += [f"{iou_type} {name}" for name in tree[iou_type] if "_by_" not in name]
    return names


def number(tree: Mapping[str, Any], metric: str, path: Path) -> Reading:
    """The number ``metric``: top1, top5, recall_any@K, recall_set@K, AP, "segm AP50" and such.

    The interval is the file's own; for recall it is Wilson's over the held-out posts, which for
    recall_set, a mean of shares, is never too narrow. AP has none. Raises DataError naming the file.
    """
    if " " not in metric and f"bbox {metric}" in available(tree):
        metric = f"bbox {metric}"
    if metric not in available(tree):
        raise DataError(
            f"{path} has no {metric}; it has {', '.join(available(tree))}: say which as the target's metric"
        )
    if metric in ("top1", "top5"):
        record = tree[metric]
        value = _percent(record.get("value"), metric, path)
        return Reading(value, _interval(record.get("interval"), value, metric, path))
    if "@" in metric:
        value = _percent(tree["recall"][metric], metric, path)
        posts = tree["recall"].get("heldout_images")
        known = isinstance(posts, int | float) and posts >= 1
        guess = tree.get("constant_guess")
        chance = guess.get(metric) if isinstance(guess, Mapping) else None
        chance = None if chance is None else _percent(chance, f"constant_guess {metric}", path)
        return Reading(value, wilson(value, float(posts)) if known else None, chance)
    iou_type, name = metric.split(" ", 1)
    return Reading(_percent(tree[iou_type][name], metric, path), None)


def wilson(percent: float, trials: float) -> tuple[float, float]:
    """Wilson's 95% interval, in percent, of a share of ``trials`` test images."""
    p, z2 = percent / 100, Z95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    # At 0 and 100% a bound is the value itself, but for rounding.
    return 100 * max(0.0, min(p, centre - half)), 100 * min(1.0, max(p, centre + half))


def test_set(tree: Mapping[str, Any]) -> str | None:
    """What names the test images of a file: a hash of what it was made from; None where it does not say."""
    made_from = tree.get("meta", {}).get("made_from", {}) if isinstance(tree.get("meta"), Mapping) else {}
    if not isinstance(made_from, Mapping):
        return None
    for role in _TEST_ROLES:
        source = made_from.get(role)
        if isinstance(source, Mapping) and isinstance(source.get("sha256"), str):
            # Which posts are held out follows from the shards and the number of them.
            recall = tree.get("recall")
            posts = recall.get("heldout_images") if isinstance(recall, Mapping) else None
            return source["sha256"] + (f" ({posts:g} held-out posts)" if posts else "")
    return None


def vocabulary(tree: Mapping[str, Any]) -> str | None:
    """The sha256 of the vocabulary that a file's model was pretrained with, where it says so."""
    record = tree.get("pretraining")
    given = record.get("vocabulary") if isinstance(record, Mapping) else None
    written: Any = tree
    for key in ("meta", "made_from", "vocabulary", "sha256"):
        written = written.get(key) if isinstance(written, Mapping) else None
    return next((one for one in (given, written) if is_hash(one)), None)


def is_hash(value: Any) -> bool:
    """Whether a value is a sha256 as text."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def said(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its pretraining and protocol; absent and null values are left out."""
    record = tree.get("pretraining")
    known = dict(record) if isinstance(record, Mapping) else {}
    known["protocol"] = tree.get("mode")
    keys = ("capacity", "images", "vocabulary", "sampling", "noise", "protocol")
    return {key: known[key] for key in keys if known.get(key) is not None}


def _percent(value: Any, metric: str, path: Path) -> float:
    if value is None:
        raise DataError(f"{path}: {metric} is null: nothing was there to score; leave the file out")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        raise DataError(f"{path}: {metric} is {value!r:.60}; expected percent, 0 to 100")
    return float(value)


def _interval(given: Any, value: float, metric: str, path: Path) -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = isinstance(given, list) and len(given) == 2
    numbers = numbers and all(isinstance(one, int | float) and not isinstance(one, bool) for one in given)
    holds = numbers and -_ROUNDING <= given[0] <= value + _ROUNDING and value - _ROUNDING <= given[1]
    if not holds or given[1] > 100 + _ROUNDING or given[0] >= given[1]:
        raise DataError(
            f"{path}: the interval of {metric} is {given!r:.60}; expected [low, high] around {value:g}"
        )
    return float(given[0]), float(given[1])
