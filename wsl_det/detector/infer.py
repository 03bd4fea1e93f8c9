"""A detector over a data set -> predictions.json with its header, in the order of the images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from wsl_det.core import dist, files, log, provenance
from wsl_det.core.config import Config
from wsl_det.detector import loader, sampler
from wsl_det.detector.coco_records import CocoDataset, Record
from wsl_det.detector.engine import DetectorEngine
from wsl_det.detector.types import Prediction
from wsl_det.detector.weights import Start

SCHEMA = 1
Found = list[tuple[int, Prediction]]
"""(image id, detections) of images, in their order."""


def detect(
    engine: DetectorEngine, model: nn.Module, cfg: Config, records: Sequence[Record], what: str
) -> Found:
    """(image id, detections) of every readable record, in order, gathered on every rank.

    Each rank takes a contiguous share, none of the images twice. Unreadable images are counted
    against WSL_DET.BAD_IMAGE_BUDGET and have no entry.
    """
    share = sampler.evaluation_shard(len(records), dist.rank(), dist.world_size())
    mine = [records[i] for i in share]
    budget = loader.Budget(len(records), cfg.WSL_DET.BAD_IMAGE_BUDGET)
    began = time.perf_counter()
    training = model.training
    detecting = engine.for_inference(model.eval())
    parts = dist.everywhere(
        lambda: list(_detections(engine, detecting, cfg, mine, budget, what=what)) if mine else []
    )
    model.train(training)
    gathered = [pair for part in parts for pair in part]
    seconds = time.perf_counter() - began
    logger = log.get("infer")
    logger.info("%s: %d images in %.1f s (%.3f s each)", what, len(records), seconds, seconds / len(records))
    if budget.bad:
        logger.warning("%s: %s", what, budget.summary())
    return gathered


def _detections(
    engine: DetectorEngine,
    model: nn.Module,
    cfg: Config,
    records: Sequence[Record],
    budget: loader.Budget,
    *,
    what: str,
) -> Iterable[tuple[int, Prediction]]:
    examples = loader.test_examples(cfg, records, budget)
    shown = log.progress(examples, len(records), what) if dist.is_main() else examples
    for example in shown:
        with torch.no_grad():
            outputs = model(engine.encode([example]))
        yield example.image_id, engine.decode(outputs)[0]


def coco_rows(found: Iterable[tuple[int, Prediction]], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections as a COCO results list: the data set's category ids, x y w h, scores unrounded."""
    rows = []
    for image_id, prediction in found:
        boxes = prediction.boxes_xyxy.double()
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).tolist()
        scores, classes = prediction.scores.tolist(), prediction.classes.tolist()
        for k, (box, score, category) in enumerate(zip(xywh, scores, classes, strict=True)):
            row = {"image_id": image_id, "category_id": category_ids[category], "bbox": box, "score": score}
            if prediction.masks is not None:
                row["segmentation"] = prediction.masks[k]
            rows.append(row)
    return rows


def header(cfg: Config, engine: DetectorEngine, start: Start, dataset: CocoDataset) -> dict[str, Any]:
    """The header of a predictions file: data, config, engine, weights and the backbone's ancestry."""
    gt_sha256 = files.sha256(dataset.json_path)
    weights = None if start.sha256 is None else f"sha256:{start.sha256}"
    sweep = cfg.WSL_DET.LR_SWEEP_SIZE
    return {
        **provenance.header("predictions", SCHEMA, {"gt": f"sha256:{gt_sha256}", "weights": weights}),
        "dataset": {"name": dataset.name, "gt_sha256": gt_sha256, "images": len(dataset.records)},
        "config": cfg.to_dict(),
        "engine": {"name": engine.name, "version": engine.version},
        "weights": {"path": start.path, "sha256": start.sha256},
        "backbone": start.backbone,
        "sweep": {"size": sweep} if sweep else None,
    }
