"""AP with the test images that were seen in training left out, or without credit for them.

Two ways, chosen by the caller and printed in every header:

- "exclude": duplicates are taken out of the test set, with their objects and detections. Equal to
  pycocotools with ``params.imgIds`` restricted to the other images.
- "wrong": duplicates stay, and every answer on them counts as an error. No detection there
  overlaps anything: each is false (a crowd absorbs none) and each object is missed. This is the
  lower bound that Mahajan et al. (2018) report for accuracy, carried over to AP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import files, verdicts
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import ConfigError, DataError
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class Duplicates:
    """Verdicts, and how the images they call duplicates are treated."""

    verdicts: Verdicts
    mode: str

    def apply(
        self, truth: GroundTruth, runs: Sequence[Predictions], gt_sha256: str | None
    ) -> tuple[GroundTruth, list[Predictions], dict[str, Any]]:
        """The ground truth and predictions to score, and what a header says about it.

        Raises DataError for verdicts about another annotation file, and when no image is left.
        """
        if gt_sha256 is None:
            raise ConfigError("duplicates need the annotation file itself: verdicts name it by its hash")
        ids = verdicts.image_ids(self.verdicts, gt_sha256, truth.image_ids, truth.source)
        seen = np.isin(truth.image_ids, np.array(ids, dtype=np.int64))
        about = {"mode": self.mode, "images": len(ids), "verdicts": self.verdicts.ancestry()}
        if self.mode == "wrong":
            return replace(truth, no_credit=seen), list(runs), about
        if seen.all() and len(seen):
            raise DataError(f"{self.verdicts.path} leaves none of the {len(seen)} images of {truth.source}")
        return truth.without_images(seen), [_elsewhere(run, ids) for run in runs], about


def read(path: str | Path | None, mode: str | None) -> Duplicates | None:
    """The treatment that ``--verdicts`` and ``--duplicates`` ask for, or None; both or neither."""
    if path is None and mode is None:
        return None
    if path is None or mode is None:
        raise ConfigError("--verdicts V.json and --duplicates exclude|wrong belong together; give both")
    verdicts.check_mode(mode)
    return Duplicates(verdicts.read(path), mode)


def note(about: dict[str, Any]) -> str:
    """What a reader should know, as a sentence without its full stop."""
    given, images = about["verdicts"], about["images"]
    how = "left out" if about["mode"] == "exclude" else "counted as errors (a lower bound)"
    said = f"{images} duplicate test {'image' if images == 1 else 'images'} {how}"
    said += f", by the verdicts of {given['reader']} ({given['path']})"
    if given["unsure"] or given["unjudged"]:
        said += f"; {given['unsure']} unsure and {given['unjudged']} unjudged pairs count as no duplicates"
    return said


def gt_hash(gt: Any) -> str | None:
    """SHA-256 of an annotation file; None for a tree in memory."""
    return files.sha256(gt) if isinstance(gt, str | Path) and Path(gt).is_file() else None


def _elsewhere(run: Predictions, ids: Sequence[int]) -> Predictions:
    kept = np.flatnonzero(~np.isin(run.image_ids, np.array(ids, dtype=np.int64)))
    masks = None if run.masks is None else _rows(run.masks, kept)
    return replace(
        run,
        image_ids=run.image_ids[kept],
        category_ids=run.category_ids[kept],
        scores=run.scores[kept],
        boxes_xywh=None if run.boxes_xywh is None else run.boxes_xywh[kept],
        masks=masks,
    )


def _rows(values: Sequence[Any], kept: np.ndarray) -> Sequence[Any]:
    return [values[int(i)] for i in kept]
