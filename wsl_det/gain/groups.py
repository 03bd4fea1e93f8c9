"""Gains by size of object and by how frequent a class is in the test set."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_det.evaluation import average_precision as ap
from wsl_det.evaluation.match_table import AREA_RANGES, AREAS, MatchTable

SIZES = ("APs", "APm", "APl")
FREQUENCIES = ("rare", "common", "frequent")


def images_of_classes(table: MatchTable) -> np.ndarray:
    """(K,) images in which a class has objects that count."""
    counted = table.counts[0]
    there = np.unique(np.stack([table.object_class[counted], table.object_image[counted]]), axis=1)
    return np.bincount(there[0], minlength=table.num_classes)


def sizes(table: MatchTable) -> list[dict[str, Any]]:
    """COCO's size ranges as groups: name, objects, and the metric that holds their AP."""
    named = zip(SIZES, AREAS[1:], AREA_RANGES[1:], table.counts[1:], strict=True)
    return [
        {"name": area, "metric": metric, "area": [float(low), None if high >= 1e10 else float(high)]}
        | {"objects": int(counts.sum())}
        for metric, area, (low, high), counts in named
    ]


def frequencies(table: MatchTable) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Thirds of the classes with objects, from those with the fewest to those with the most.

    (name, number of classes, range of objects a class and all objects; indices of the classes). Fewer than
    three classes make no thirds.
    """
    objects = np.bincount(table.object_class[table.counts[0]], minlength=table.num_classes)
    there = np.flatnonzero(objects)
    if len(there) < len(FREQUENCIES):
        return []
    ranked = there[np.argsort(objects[there], kind="stable")]
    found = []
    for name, classes in zip(FREQUENCIES, np.array_split(ranked, len(FREQUENCIES)), strict=True):
        count = objects[classes]
        facts = {"name": name, "classes": len(classes), "objects": int(count.sum())}
        found.append((facts | {"objects_a_class": [int(count.min()), int(count.max())]}, classes))
    return found


def mean_of(rows: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """(N, B) mean AP of each of N groups from the rows of the classes (K, B); absent classes are left out."""
    return np.stack([ap.mean_over_classes(rows[classes], 0) for classes in groups])
