"""LVIS v1 under both engines: the same files below Detectron2's names, same draws, same detections."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import lvis_files
import pytest
import torch
import train_runs

from wsl_det.core import config
from wsl_det.detector import coco_records, datasets, defaults, sampler, train

SPLITS = ("lvis_v1_train", "lvis_v1_val", "lvis_v1_test_dev", "lvis_v1_test_challenge")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return lvis_files.write(tmp_path)


def test_names_stand_for_detectron2s_files(root: Path) -> None:
    from detectron2.data.datasets import builtin

    theirs = builtin._PREDEFINED_SPLITS_LVIS["lvis_v1"]
    assert set(theirs) == set(SPLITS)
    for name, (folder, path) in theirs.items():
        (root / path).touch()
        assert datasets.locate(name, {}) == (root / path, root / folder)


@pytest.mark.parametrize("threshold", lvis_files.THRESHOLDS)
def test_records_repeats_and_epochs_are_equal(root: Path, threshold: float) -> None:
    from detectron2.data.build import filter_images_with_only_crowd_annotations
    from detectron2.data.datasets.lvis import load_lvis_json
    from detectron2.data.samplers import RepeatFactorTrainingSampler as Theirs

    dicts = load_lvis_json(str(root / "lvis/lvis_v1_train.json"), f"{root}/coco/")
    dicts = filter_images_with_only_crowd_annotations(dicts)
    (dataset,) = datasets.read(["lvis_v1_train"], {}, "TRAIN")
    records = coco_records.training_records([dataset], masks="polygon", keep_empty=False)
    assert [str(r.path) for r in records] == [d["file_name"] for d in dicts]
    for record, theirs in zip(records, dicts, strict=True):
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (o["bbox"] for o in theirs["annotations"])]
        assert [a.box_xyxy for a in record.annotations] == boxes
        outlines = [[part.tolist() for part in a.segmentation] for a in record.annotations]
        assert outlines == [o["segmentation"] for o in theirs["annotations"]]
        assert [a.category for a in record.annotations] == [o["category_id"] for o in theirs["annotations"]]
    factors = sampler.repeat_factors([[a.category for a in r.annotations] for r in records], threshold)
    assert torch.equal(factors, Theirs.repeat_factors_from_category_frequency(dicts, threshold))
    rng = torch.Generator().manual_seed(3)
    ours = [i for _ in range(3) for i in sampler.one_epoch(len(records), rng, factors).tolist()]
    assert ours == list(itertools.islice(Theirs(factors, seed=3), len(ours)))


@pytest.mark.slow
def test_one_command_gives_the_same_run_under_both_engines(root: Path) -> None:
    settings: dict[str, Any] = train_runs.settings().TINY
    runs = {}
    for engine in ("embedded", "detectron2"):
        pairs = [*lvis_files.SETTINGS, "OUTPUT_DIR", str(root / engine)]
        train.run(train.Job(config.merge(defaults.TREE, settings, pairs), {}, engine=engine))
        lines = map(json.loads, (root / engine / "metrics.jsonl").read_text().splitlines())
        losses = [{k: v for k, v in line.items() if "loss" in k} for line in lines]
        runs[engine] = losses, (root / engine / "predictions.json").read_text()
    assert runs["embedded"] == runs["detectron2"]
    assert len(json.loads(runs["embedded"][1])) > 100 * 2  # more an image than COCO's limit
