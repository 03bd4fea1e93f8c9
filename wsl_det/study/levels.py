"""How high each arm stands: AP, recognition and localization, with intervals over images and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl_det import predictions
from wsl_det.evaluation import coco_ap, matching
from wsl_det.gain import estimates, groups, inputs, measures, resamples, side
from wsl_det.gain.estimates import number
from wsl_det.gain.like_for_like import header_value
from wsl_det.gain.side import Numbers
from wsl_det.predictions import Predictions
from wsl_det.study import jobs
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study

ANCHOR = "0.1"
LEVELS = ("AP", "AP50", "AP75", "recognition", "localization")
"""Recognition is AP at IoU 0.1, localization AP in percent of it (docs/method.md)."""


def measure(study: Study, finals: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """By arm its "levels" (what ``_arm`` records, for each IoU type that all runs carry), what counts as one
    run ("units", see ``side.units``), and what headers say of its pretraining (see ``_seen``).
    """
    truth = inputs.ground_truth(study.test.annotations)
    runs = {
        arm.name: [predictions.read(jobs.predictions_of(j)) for j in finals if j.arm.name == arm.name]
        for arm in study.arms
    }
    found = {name: {"levels": {}, "units": side.units(mine)} | _seen(mine) for name, mine in runs.items()}
    weights = resamples.multiplicities(len(truth.image_ids), study.report.bootstrap, study.report.seed)
    types = [coco_ap.choose(one, truth, None) for mine in runs.values() for one in mine]
    for iou_type in [name for name in coco_ap.IOU_TYPES if all(name in one for one in types)]:
        shapes = matching.object_shapes(truth, iou_type)
        for name, mine in runs.items():
            built = side.build(mine, truth, shapes, iou_type, oracles=False)
            layout = measures.Layout(built.tables[0])
            rows = [*(layout.metrics[one] for one in LEVELS[:3]), layout.anchors[ANCHOR]]
            numbers = side.scores(built, weights, measures.quiet)
            seen_in = groups.images_of_classes(built.tables[0])
            widen = estimates.widening(numbers.replicates[layout.classes], seen_in, len(weights))
            found[name]["levels"][iou_type] = _arm(numbers, rows, len(weights), widen)
    return found


def _seen(runs: Sequence[Predictions]) -> dict[str, Any]:
    """What the headers of an arm's runs say of its pretraining: images seen, and whether it was cooled.

    ``images`` is None where a run does not say it; ``cooled`` False for checkpoints of a constant rate.
    Beside them what taught the backbone: ``supervision``, ``data``, ``licence``.
    """
    told = [header_value(run.meta, "backbone", "pretraining") or {} for run in runs]
    draws = [draw for one in told if isinstance(draw := one.get("draws"), int)]
    known = len(draws) == len(runs)
    hot = any(one.get("schedule") == "constant" and not one.get("cooled") for one in told)
    return {"images": float(np.mean(draws)) if known else None, "cooled": not hot} | _taught(runs[0])


def _taught(run: Predictions) -> dict[str, str]:
    """What taught a backbone, on what data and under which licence, as far as its header says."""
    of = [header_value(run.meta, "backbone", "provenance", key) for key in ("supervision", "training_data")]
    of.append(header_value(run.meta, "backbone", "licence", "name"))
    return {key: str(v or "not told") for key, v in zip(("supervision", "data", "licence"), of, strict=True)}


def _arm(numbers: Numbers, rows: Sequence[int], images: int, widen: float) -> dict[str, Any]:
    """Each of ``LEVELS`` with ``value`` and ``interval``; ``runs``: that of each pretraining.

    between: variance between pretrainings, None of one; within: between fine-tunings of one.
    """

    def levels(columns: np.ndarray) -> np.ndarray:
        ap, ap50, ap75, anchor = (columns[row] for row in rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([ap, ap50, ap75, anchor, np.where(anchor > 0, 100 * ap / anchor, np.nan)])

    points, replicates = levels(numbers.mean[:, None])[:, 0], levels(numbers.replicates)
    values = np.stack([levels(run[:, None])[:, 0] for run in numbers.of_runs], axis=1)
    resampled = np.stack([levels(run) for run in numbers.resampled_runs], axis=1)
    found = {}
    for i, name in enumerate(LEVELS):
        runs = estimates.runs_of(values[i], resampled[i])
        one = estimates.estimate(float(points[i]), replicates[i], runs, None, images, widen=widen)
        within = None if numbers.within is None or i > 2 else number(numbers.within[rows[i]])
        found[name] = {
            "value": number(points[i]),
            "interval": one.record(),
            "runs": [number(value) for value in values[i]],
            "between": number(np.var(values[i], ddof=1)) if values.shape[1] > 1 else None,
            "within": within,
        }
    return found
