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
from wsl_det.gain.estimates import t_quantile

IOU_TYPES = ("bbox", "segm")
_ROUNDING = 1e-9
_TEST_ROLES = ("gt", "val", "test", "data", "dataset")
_SAID = ("capacity", "images", "vocabulary", "sampling", "noise")


@dataclass(frozen=True)
class Reading:
    """A number of a file in percent, with its 95% interval over test images where one is known.

    ``chance`` is what a constant guess scores, where the file says it.
    """

    value: float
    interval: tuple[float, float] | None = None
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


def at(tree: Any, *keys: str) -> Any:
    """What stands below ``keys``; None where one is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def available(tree: Mapping[str, Any]) -> list[str]:
    """Names of the numbers in a result file, as ``number`` takes them."""
    names = [name for name in ("top1", "top5") if isinstance(tree.get(name), Mapping)]
    names += [str(name) for name in _rows(tree, "recall") if "@" in str(name)]
    for iou_type in IOU_TYPES:
        names += [f"{iou_type} {name}" for name in _rows(tree, iou_type) if "_by_" not in name]
    return names


def number(tree: Mapping[str, Any], metric: str, path: Path) -> Reading:
    """The number ``metric``: top1, top5, recall_any@K, recall_set@K, AP, "segm AP50" and such.

    The interval is the file's own; for recall it is Wilson's over the held-out posts, which for
    recall_set, a mean of shares, is never too narrow. AP has none. Raises DataError naming the file.
    """
    known = available(tree)
    if f"bbox {metric}" in known:
        metric = f"bbox {metric}"
    if metric not in known:
        raise DataError(
            f"{path} has no {metric}; it has {', '.join(known)}: say which as the target's metric"
        )
    if metric in ("top1", "top5"):
        value = _percent(tree[metric].get("value"), metric, path)
        return Reading(value, _interval(tree[metric].get("interval"), value, metric, path))
    if "@" in metric:
        value = _percent(tree["recall"][metric], metric, path)
        posts = tree["recall"].get("heldout_images")
        sure = isinstance(posts, int | float) and 1 <= posts < math.inf
        chance = at(tree, "constant_guess", metric)
        chance = None if chance is None else _percent(chance, f"constant_guess {metric}", path)
        return Reading(value, wilson(value, float(posts)) if sure else None, chance)
    return Reading(_percent(at(tree, *metric.split(" ", 1)), metric, path))


def wilson(percent: float, trials: float) -> tuple[float, float]:
    """Wilson's 95% interval, in percent, of a share of ``trials`` test images.

    scipy has it for whole numbers of hits alone; a mean of shares is none.
    """
    z = t_quantile(0.975, math.inf)
    p, z2 = percent / 100, z**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    # At 0 and 100% a bound is the value itself, but for rounding.
    return 100 * max(0.0, min(p, centre - half)), 100 * min(1.0, max(p, centre + half))


def test_set(tree: Mapping[str, Any]) -> str | None:
    """What names the test images of a file: a hash of what it was made from; None where it does not say."""
    for role in _TEST_ROLES:
        source = at(tree, "meta", "made_from", role, "sha256")
        if isinstance(source, str):
            # Which posts are held out follows from the shards and the number of them.
            posts = at(tree, "recall", "heldout_images")
            return source + (f" ({posts:g} held-out posts)" if isinstance(posts, int | float) else "")
    return None


def vocabulary(tree: Mapping[str, Any]) -> str | None:
    """The sha256 of the vocabulary that a file's model was pretrained with, where it says so."""
    said = (at(tree, "pretraining", "vocabulary"), at(tree, "meta", "made_from", "vocabulary", "sha256"))
    return next((one for one in said if is_hash(one)), None)


def is_hash(value: Any) -> bool:
    """Whether a value is a sha256 as text."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def said(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its pretraining and protocol; absent and null values are left out."""
    known = {key: at(tree, "pretraining", key) for key in _SAID} | {"protocol": tree.get("mode")}
    return {key: value for key, value in known.items() if value is not None}


def _rows(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, Mapping) else {}


def _percent(value: Any, metric: str, path: Path) -> float:
    if value is None:
        raise DataError(f"{path}: {metric} is null: nothing was there to score; leave the file out")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        raise DataError(f"{path}: {metric} is {value!r:.60}; expected percent, 0 to 100")
    return float(value)


def _interval(given: Any, value: float, metric: str, path: Path) -> tuple[float, float] | None:
    if given is None:
        return None
    sound = isinstance(given, list) and len(given) == 2
    sound = sound and all(isinstance(one, int | float) and not isinstance(one, bool) for one in given)
    # Bounds may miss 0, 100 and the value by a rounding.
    low, high = (given[0] - _ROUNDING, given[1] + _ROUNDING) if sound else (1, 0)
    if not -2 * _ROUNDING <= low <= value <= high <= 100 + 2 * _ROUNDING or given[0] >= given[1]:
        raise DataError(
            f"{path}: the interval of {metric} is {given!r:.60}; expected [low, high] around {value:g}"
        )
    return float(given[0]), float(given[1])
