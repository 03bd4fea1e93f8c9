"""LVIS in the embedded engine: Detectron2's names, rare images repeated, and a run to its detections."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import lvis_files
import pytest
import train_runs

from wsl_det.core import config
from wsl_det.core.config import Config
from wsl_det.detector import coco_records, datasets, defaults, loader, train
from wsl_det.errors import DataError
from wsl_det.evaluation import coco_ap


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lvis_files.write(tmp_path_factory.mktemp("lvis"))


@pytest.fixture(autouse=True)
def _below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))


def settings(*pairs: object) -> Config:
    return config.merge(defaults.TREE, train_runs.settings().TINY, [*lvis_files.SETTINGS, *pairs])


def test_a_missing_file_is_told_with_its_folder(root: Path) -> None:
    with pytest.raises(DataError, match=r"lvis_v1_image_info_test_dev\.json does not exist.*holds lvis/"):
        datasets.locate("lvis_v1_test_dev", {})


def test_the_loader_repeats_the_images_of_rare_classes(root: Path) -> None:
    (dataset,) = datasets.read(["lvis_v1_train"], {}, "TRAIN")
    records = coco_records.training_records([dataset], masks="polygon", keep_empty=False)
    of_class = Counter(k for r in records for k in {a.category for a in r.annotations})
    rarest = {r.image_id: min(of_class[a.category] for a in r.annotations) for r in records}
    seen: dict[str, Counter[int]] = {}
    for name in ("TrainingSampler", "RepeatFactorTrainingSampler"):
        cfg = settings("DATALOADER.SAMPLER_TRAIN", name)
        budget = loader.Budget(len(records), 0.0)
        batches = loader.training_batches(cfg, records, budget, seed=1, rank=0, world_size=1, start=0)
        seen[name] = Counter(rarest[e.image_id] for batch in islice(batches, 150) for e in batch)
    plain, repeated = seen.values()
    images = Counter(rarest.values())
    rare, frequent = min(images), max(images)
    assert repeated[rare] / images[rare] > 2.0 * repeated[frequent] / images[frequent]
    assert plain[rare] / images[rare] == pytest.approx(plain[frequent] / images[frequent], rel=0.15)


def test_a_run_ends_in_detections_in_lvis_form_and_their_scores(root: Path, tmp_path: Path) -> None:
    cfg = settings("OUTPUT_DIR", str(tmp_path / "run"))
    train.run(train.Job(cfg, engine="embedded", evaluate=coco_ap.evaluate))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"AP", "APr", "APc", "APf", "AR300"} <= results["bbox"].keys() & results["segm"].keys()
    assert results["meta"]["protocol"] == "lvis" and "AR1" not in results["bbox"]
    found = json.loads((tmp_path / "run" / "predictions.json").read_text())
    truth = json.loads((root / "lvis" / "lvis_v1_val.json").read_text())
    assert {row["image_id"] for row in found} == {image["id"] for image in truth["images"]}
    assert {row["category_id"] for row in found} <= set(range(1, lvis_files.CLASSES + 1))
    assert min(row["score"] for row in found) > 1e-4
    assert all({"bbox", "segmentation"} <= row.keys() for row in found)
    an_image = Counter(row["image_id"] for row in found)
    assert 100 < max(an_image.values()) <= 300
