"""LVIS (Gupta et al. 2019): an image is annotated for some classes, and says for which; 300 detections count.

A class is judged on images that show it and on those that list it as absent. Where not all of its objects
are annotated, a detection that finds none is neither right nor wrong. Without an area of box or mask neither
an object nor a detection is there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_det.coco.ground_truth import Federated, GroundTruth
from wsl_det.evaluation.protocols.protocol import Protocol

MOST = 300


def _keys(truth: GroundTruth, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    return label.astype(np.int64) * len(truth.image_ids) + image


def _listed(truth: GroundTruth, sets: Sequence[np.ndarray]) -> np.ndarray:
    """Keys of the pairs that a list of classes by image holds."""
    image = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    return _keys(truth, image, np.concatenate([np.empty(0, dtype=np.int32), *sets]))


def _sets(truth: GroundTruth) -> Federated:
    assert truth.federated is not None, "choose() takes LVIS for federated files only"
    return truth.federated


def judged(truth: GroundTruth, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Whether the image shows the class or lists it as absent."""
    there = truth.object_area != 0
    shown = _keys(truth, truth.object_image[there], truth.object_class[there])
    known = np.concatenate([shown, _listed(truth, _sets(truth).negative)])
    return np.isin(_keys(truth, image, label), known)


def lenient(truth: GroundTruth, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Whether not all objects of the class are annotated there."""
    return np.isin(_keys(truth, image, label), _listed(truth, _sets(truth).not_exhaustive))


LVIS = Protocol(
    name="lvis",
    title="LVIS",
    limit=MOST,
    by_class=False,
    without_area=False,
    recalls=(("AR300", 0, MOST), ("ARs", 1, MOST), ("ARm", 2, MOST), ("ARl", 3, MOST)),
    bands={"APr": "r", "APc": "c", "APf": "f"},
    judged=judged,
    lenient=lenient,
)
