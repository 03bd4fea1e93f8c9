"""Configurations, studies and the results they list: small good files and how tools read them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import annotation_files
import reader
import shard_files


def _detection_config(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_bytes((Path(__file__).parents[1] / "golden" / "tiny.yaml").read_bytes())
    return path


def _read_detection_config(path: Path) -> None:
    from wsl_det.core import config
    from wsl_det.detector import defaults, loader, settings, solver
    from wsl_det.detector.embedded import build

    cfg = config.load(path, defaults.TREE)
    settings.check(cfg)
    solver.learning_rate(solver.scaled_to(cfg, 2))
    settings.amp(cfg)
    loader.training_augmentation(cfg)
    build.inference_switches(cfg)
    assert config.merge(defaults.TREE, cfg.to_dict()) == cfg


def _pretrain_config(folder: Path) -> Path:
    import yaml

    tree = {
        "DATA": {"SHARDS": str(shard_files.shard_folder(folder)), "HELDOUT": 0.1, "NUM_THREADS": 1},
        "INPUT": {"SIZE": 32, "TEST_RESIZE": 32},
        "MODEL": {"DEVICE": "cpu", "BLOCKS": [1, 1, 1, 1], "GROUPS": 2, "BN_GROUP": 4},
        "SOLVER": {"IMS_PER_BATCH": 8, "TOTAL_IMAGES": 160, "WARMUP_UPDATES": 1},
        "OUTPUT_DIR": str(folder / "out"),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _read_pretrain_config(path: Path) -> None:
    from pretrain.training import defaults, job
    from wsl_det.core import config

    cfg = config.load(path, defaults.TREE)
    ready = job.prepare(cfg)
    assert ready.schedule.factor(0) >= 0
    ready.stream.epoch(0)


def _study(folder: Path) -> Path:
    import yaml

    gt, config = str(annotation_files.annotations(folder)), str(_detection_config(folder))
    data = {"annotations": gt, "images": str(folder)}
    arm = {"config": config, "weights": "scratch", "trunk": "T"}
    arms = {"random": {**arm, "pretraining": "none"}, "tags": {**arm, "pretraining": "hashtags"}}
    tree = {
        "name": "tiny",
        "output": str(folder / "out"),
        "data": {"train": data, "test": data, "heldout": 0.3},
    }
    tree |= {"learning_rates": [0.01, 0.02], "seeds": [1, 2], "arms": arms, "report": {"title": "x"}}
    tree |= {"overrides": {"SOLVER.MAX_ITER": 2}, "pairs": [["random", "tags"]]}
    recipe = {"config": "configs/quick/pretrain_tiny.yaml", "shards": str(folder), "seeds": [1, 2]}
    tree |= {"pretrain": {**recipe, "at": [0.1, 1], "overrides": {"SOLVER.TOTAL_IMAGES": 960}}}
    arms["made"] = {
        "config": config,
        "trunk": "T",
        "pretraining": "made",
        "pretrain": {"labels": "shuffled", "tune": "end"},
        "seeds": [3],
    }
    tree |= {"contrasts": ["made - random", "tags - made@0.1"], "slurm": ["--time=1:00:00"]}
    del tree["report"]
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _read_study(path: Path) -> None:
    from pretrain.training import defaults as pretraining
    from wsl_det.detector import datasets, defaults
    from wsl_det.study import jobs, plan

    study = plan.read(path, datasets.locate)
    for each in jobs.every(study, {}):
        jobs.resolve(study, each, defaults.TREE, pretraining.TREE)


def _result(folder: Path) -> Path:
    path = folder / "result.json"
    recall = {"1": 0.5, "recall@5": 0.75}
    path.write_text(json.dumps({"top1": {"value": 61.5, "trials": 500, "interval": [60.0, 63.0]},
                                "top5": {"value": 81.5}, "recall": recall, "bbox": {"AP": 31.5, "AP50": 50.1},
                                "chance": {"top1": 1.0}}))  # fmt: skip
    return path


def _read_result(path: Path) -> None:
    from wsl_det.study.scaling import results

    tree = results.read(path)
    for name in results.available(tree):
        assert math.isfinite(results.number(tree, name, path).value)
    results.test_set(tree), results.vocabulary(tree), results.said(tree)


def _scaling(folder: Path) -> Path:
    import yaml

    result = _result(folder).read_text()
    for i in range(3):
        (folder / f"{i}.json").write_text(result)
    entry = {"target": "imagenet", "capacity": "resnet50", "pretraining": "IG", "vocabulary": "1.5k"}
    amounts = enumerate((1_000_000, "10M", 1e8))
    entries = [{**entry, "images": n, "results": f"{i}.json", "noise": 0.1} for i, n in amounts]
    inline = {
        "target": "imagenet",
        "images": 5e8,
        "value": 71.5,
        "interval": [70, 73],
        "capacity": "resnet50",
    }
    targets = {"imagenet": {"label": "IN", "metric": ["top1"]}}
    tree = {"title": "x", "targets": targets, "entries": [*entries, inline]}
    path = folder / "scaling.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _read_scaling(path: Path) -> None:
    from wsl_det.study.scaling import content, entries

    content.collect(entries.read(path))


def _capacities(folder: Path) -> Path:
    import yaml

    result = _result(folder).read_text()
    for name in ("IG", "IN"):
        (folder / f"{name}.json").write_text(result)
    path = folder / "capacities.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "title": "x",
                "entries": [{"trunk": "X", "results": f"{p}.json", "pretraining": p} for p in ("IG", "IN")],
            }
        )
    )
    return path


def _read_capacities(path: Path) -> None:
    from wsl_det.study import capacities

    capacities.collect(*capacities.read(path))


READERS = {
    "detection_config": reader.Reader(_detection_config, _read_detection_config, reader.YAML),
    "pretrain_config": reader.Reader(_pretrain_config, _read_pretrain_config, reader.YAML),
    "study": reader.Reader(_study, _read_study, reader.YAML),
    "scaling": reader.Reader(_scaling, _read_scaling, reader.YAML),
    "capacities": reader.Reader(_capacities, _read_capacities, reader.YAML),
    "result_file": reader.Reader(_result, _read_result, reader.JSON),
}
