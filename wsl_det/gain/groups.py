"""Gains by size of object, and in how many images a class is."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_det.evaluation.match_table import AREA_RANGES, AREAS, MatchTable

SIZES = ("APs", "APm", "APl")


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
