"""Two detectors over one data set, each one's boxes scored by each one's head: four predictions files.

Computed by the embedded engine: it loads the checkpoints of either engine exactly and gives equal
results by contract (tests/parity), and the inside of its model can be asked for what is needed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from wsl_det import predictions
from wsl_det.core import log
from wsl_det.core.config import Config
from wsl_det.detector import coco_records, datasets, infer, loader, settings, trunks, weights
from wsl_det.detector.coco_records import CocoDataset
from wsl_det.detector.embedded import cross
from wsl_det.detector.engine import DetectorEngine, select_engine
from wsl_det.detector.types import Example, Prediction
from wsl_det.detector.weights import Start
from wsl_det.errors import CheckpointError, ConfigError

Cells = dict[tuple[str, str], Path]
"""(name of the detector that gave the boxes, name of the one that scored them) -> predictions file."""

# What chooses detections from scored boxes: different values would be a third cause of a difference.
_SHARED = (
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "TEST.DETECTIONS_PER_IMAGE",
)


@dataclass(frozen=True)
class Detector:
    """A detector to be crossed: its name, configuration and checkpoint (ours or Detectron2's)."""

    name: str
    cfg: Config
    weights: str


@dataclass(frozen=True)
class _Loaded:
    name: str
    cfg: Config
    engine: DetectorEngine
    model: nn.Module
    start: Start


def run(
    detectors: Sequence[Detector], dataset_name: str, registered: datasets.Registered, output: Path
) -> tuple[Path, Cells]:
    """Write the predictions of every pair of detectors into ``output``; annotation file and their paths.

    Everything that can be refused is refused before an image is read: configs that choose
    detections differently, weights that do not fit, other categories. Raises ConfigError, DataError,
    CheckpointError and EngineError.
    """
    _check_shared(detectors)
    (dataset,) = datasets.read([dataset_name], registered, "TEST")
    log.get("cross").info("%s", coco_records.describe(dataset))
    loaded = [_load(detector, dataset) for detector in detectors]
    found = _detections(loaded, dataset)
    cells: Cells = {}
    for boxes in loaded:
        for scores in loaded:
            path = output / f"predictions.boxes_{boxes.name}.scores_{scores.name}.json"
            rows = infer.coco_rows(found[boxes.name, scores.name], dataset.category_ids)
            predictions.write(path, rows, _header(boxes, scores, dataset))
            cells[boxes.name, scores.name] = path
    return dataset.json_path, cells


def _check_shared(detectors: Sequence[Detector]) -> None:
    names = [detector.name for detector in detectors]
    if len(set(names)) < len(names):
        raise ConfigError(f"the detectors are called {', '.join(names)}; each needs its own name")
    flat = [detector.cfg.flat() for detector in detectors]
    for key in _SHARED:
        values = [tree[key] for tree in flat]
        if any(value != values[0] for value in values):
            told = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
            raise ConfigError(
                f"{key} differs ({told}); crossed detectors must choose their detections alike: "
                f"put {key} VALUE on the command line"
            )


def _load(detector: Detector, dataset: CocoDataset) -> _Loaded:
    cfg = trunks.settled(detector.cfg)
    settings.check(cfg)
    datasets.check_num_classes(cfg.MODEL.ROI_HEADS.NUM_CLASSES, [dataset])
    engine = select_engine("embedded")(cfg)
    settings.set_backends(cfg)
    model = engine.build()
    start = weights.detector(model, detector.weights)
    if start.categories is not None:
        datasets.check_categories(start.class_names, detector.weights, [dataset], CheckpointError)
    return _Loaded(detector.name, cfg, engine, engine.for_inference(model.eval()), start)


def _detections(
    loaded: Sequence[_Loaded], dataset: CocoDataset
) -> dict[tuple[str, str], list[tuple[int, Prediction]]]:
    pairs: dict[tuple[str, str], list[tuple[int, Prediction]]] = {
        (x.name, y.name): [] for x in loaded for y in loaded
    }
    shown = log.progress(_examples(loaded, dataset), len(dataset.records), "cross-scoring")
    for examples in shown:
        # One image at a time, as in plain inference: batches may round differently.
        batches = [one.engine.encode([example]) for one, example in zip(loaded, examples, strict=True)]
        found = cross.score_crosswise([one.model for one in loaded], batches)  # type: ignore[misc]
        for i, x in enumerate(loaded):
            for j, y in enumerate(loaded):
                decoded = x.engine.decode(found[i][j])[0]
                pairs[x.name, y.name].append((examples[0].image_id, decoded))
    return pairs


def _examples(loaded: Sequence[_Loaded], dataset: CocoDataset) -> Iterator[tuple[Example, ...]]:
    """Every readable image as each detector wants it; unreadable ones are left out for all alike."""
    budgets = [loader.Budget(len(dataset.records), one.cfg.WSL_DET.BAD_IMAGE_BUDGET) for one in loaded]
    streams = [
        loader.test_examples(one.cfg, dataset.records, budget)
        for one, budget in zip(loaded, budgets, strict=True)
    ]
    yield from zip(*streams, strict=True)


def _header(boxes: _Loaded, scores: _Loaded, dataset: CocoDataset) -> Mapping[str, Any]:
    header = infer.header(boxes.cfg, boxes.engine, boxes.start, dataset)
    scored_by = infer.header(scores.cfg, scores.engine, scores.start, dataset)
    kept = ("config", "weights", "backbone")
    crossed = {"boxes": boxes.name, "scores": scores.name}
    return {**header, "cross": {**crossed, "scored_by": {k: scored_by[k] for k in kept}}}
