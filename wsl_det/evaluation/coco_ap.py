"""Ground truth and predictions to results.json: AP of boxes and masks by COCO's or LVIS's protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det import predictions as predictions_file
from wsl_det.coco import reader
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import files, provenance
from wsl_det.errors import DataError
from wsl_det.evaluation import conventions, matching, metrics
from wsl_det.evaluation import duplicates as duplicates_of
from wsl_det.evaluation.duplicates import Duplicates
from wsl_det.evaluation.match_table import FIRST_COCO, MatchTable
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.predictions import Predictions

SCHEMA = 1
IOU_TYPES = ("bbox", "segm")


def evaluate(
    gt: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]],
    iou_types: Sequence[str] | None = None,
    duplicates: Duplicates | None = None,
    protocol: str | None = None,
) -> dict[str, Any]:
    """The content of results.json (docs/annotations.md): percent, unrounded, undefined is None.

    ``gt`` is an annotation file or its tree, ``predictions`` a results file or list. Without
    ``iou_types`` every type that the predictions carry is scored; a type asked for and not there
    is a DataError. Ground truth without any annotation gives null for every number. ``duplicates``
    leaves out the test images that were seen in training, or gives them no credit. The protocol is found by
    the annotation file; ``protocol`` "coco" or "lvis" refuses another.
    """
    truth = reader.from_tree(gt) if isinstance(gt, Mapping) else reader.read(gt)
    scored_by = protocols.of(truth, protocol)
    reader.check_scored(truth)
    if isinstance(predictions, str | Path):
        found = predictions_file.read(predictions)
    else:
        found = predictions_file.columns(predictions, source="the results")
    about: dict[str, Any] = {}
    if duplicates is not None:
        truth, (found,), about = duplicates.apply(truth, [found], duplicates_of.gt_hash(gt))
    tables = {
        iou_type: matching.match(found, truth, iou_type) for iou_type in choose(found, truth, iou_types)
    }
    made_from = {
        "gt": None if isinstance(gt, Mapping) else gt,
        "predictions": predictions if isinstance(predictions, str | Path) else None,
        "verdicts": duplicates.verdicts.path if duplicates is not None else None,
    }
    meta = provenance.header("results", SCHEMA, made_from) | {"protocol": scored_by.name}
    meta |= describe(truth, found)
    if about:
        meta |= {"duplicates": about, "notes": [*meta["notes"], duplicates_of.note(about)]}
    return {iou_type: result(table) for iou_type, table in tables.items()} | {"meta": meta}


def choose(found: Predictions, truth: GroundTruth, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The IoU types to score: those asked for, else those that predictions and ground truth carry."""
    if asked:
        for iou_type in asked:
            if iou_type not in IOU_TYPES:
                raise DataError(f"unknown IoU type {iou_type!r}; expected {' or '.join(IOU_TYPES)}")
            if iou_type not in found.iou_types:
                has = " and ".join(found.iou_types)
                raise DataError(f"{found.source} cannot be scored by {iou_type}: its rows carry {has} only")
        return tuple(dict.fromkeys(asked))
    # A ground truth without masks leaves boxes; an empty list of detections fits either type.
    masks = any(bool(value) for value in truth.segmentations)
    return tuple(name for name in found.iou_types if name == "bbox" or masks)


def notes(truth: GroundTruth) -> list[str]:
    """What about the annotations a reader should know."""
    notes = []
    if truth.renumbered:
        notes.append(
            "annotation ids were renumbered from 1: one was 0, which pycocotools never matches, "
            "so its own numbers on this file are too low"
        )
    if truth.num_objects == 0:
        notes.append("the ground truth has no annotations: nothing is defined")
    if truth.federated is not None and truth.federated.crowd_flags:
        notes.append(
            f"{truth.federated.crowd_flags} annotations have iscrowd, which LVIS's protocol does not read: "
            "they count as objects"
        )
    if truth.federated is not None and (empty := int((truth.object_area == 0).sum())):
        notes.append(f"{empty} annotations have an area of 0: LVIS's protocol passes over them")
    if truth.federated is not None and "" in truth.category_frequency:
        number = sum(not band for band in truth.category_frequency)
        notes.append(
            f"{number} of {len(truth.category_ids)} categories have no frequency: APr, APc and APf leave "
            "them out"
        )
    return notes


def describe(truth: GroundTruth, found: Predictions) -> dict[str, Any]:
    """What was evaluated, and what about it a reader should know."""
    strange = conventions.strange(found, truth)
    return {
        "images": len(truth.image_ids),
        "objects": int(truth.object_counts.sum()),
        "crowds": int(truth.object_crowd.sum()),
        "detections": len(found),
        "predictions_meta": found.meta,
        "notes": [*notes(truth), *([] if strange is None else ["the {}: {}, {}".format(*strange)])],
    }


def result(table: MatchTable) -> dict[str, Any]:
    """One IoU type of results.json."""
    measured = metrics.measure(table)
    by_class = measured.by_class[FIRST_COCO:, :, 0]
    iou = table.thresholds[FIRST_COCO:]
    return {
        **{name: number(values[0]) for name, values in measured.metrics.items()},
        "AP_by_iou": {
            f"{t:.2f}": number(v) for t, v in zip(iou, measured.by_iou[FIRST_COCO:, 0], strict=True)
        },
        "AP_by_class": {
            str(name): {"AP": number(by_class[:, k].mean()), "AP50": number(by_class[0, k])}
            for k, name in enumerate(table.class_names)
        },
    }


def number(value: float) -> float | None:
    """A float for JSON; None where it is undefined."""
    return None if math.isnan(value) else float(value)


def write(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write results.json, whole or not at all."""
    files.write_json(path, results)


def lines(results: Mapping[str, Any]) -> list[str]:
    """The protocol and the numbers of each IoU type as lines for a terminal."""
    protocol = protocols.PROTOCOLS[results["meta"]["protocol"]]
    text = [protocol.said]
    for iou_type in (name for name in IOU_TYPES if name in results):
        numbers = results[iou_type]
        shown = [f"{name} {_shown(numbers[name])}" for name in protocol.metrics]
        text += [f"{iou_type}: " + "  ".join(shown[:6]), " " * (len(iou_type) + 2) + "  ".join(shown[6:])]
    return text + [f"note: {note}" for note in results["meta"]["notes"]]


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
