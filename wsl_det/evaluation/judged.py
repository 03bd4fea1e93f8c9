"""Which rows of a predictions file are right: for drawings, where one looks at detections one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.errors import DataError
from wsl_det.evaluation import coco_ap, matching
from wsl_det.evaluation.match_table import FIRST_COCO, IGNORED


def judge(gt: str | Path, predicted: str | Path) -> np.ndarray:
    """(N,) uint8 by row of the file: TRUE, FALSE or IGNORED of ``match_table``, at an IoU of 0.5.

    TRUE found an object of its class that no better row found, by boxes where the rows have them, else
    by masks. IGNORED lies in a crowd, or is not scored by the protocol. Raises DataError where
    evaluation would.
    """
    truth = reader.read(gt)
    reader.check_scored(truth)
    if not len(truth.object_class):
        raise DataError(f"{gt} has no annotations")
    found = predictions.read(predicted)
    table = matching.match(found, truth, coco_ap.choose(found, truth, None)[0])
    status = np.full(len(found.scores), IGNORED, dtype=np.uint8)
    status[table.row] = table.status[0, FIRST_COCO]
    return status
