"""train_net's whole job under both engines: config, data, loop, checkpoint, inference, evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import train_runs

from wsl_det.core import checkpoint, config
from wsl_det.core.config import Config
from wsl_det.detector import defaults, train
from wsl_det.errors import DataError, EngineError
from wsl_det.evaluation import coco_ap

ENGINES = ("embedded", "detectron2")
Sets = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Sets, Any]]:
    """A folder with a finished run of 20 steps under each engine, its data sets, its settings."""
    root, settings = tmp_path_factory.mktemp("jobs"), train_runs.settings()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sets: Sets = {}
    for name, count in (("train", 8), ("val", 3)):
        path = settings.write_scenes(root / name, count, seed=count)
        sets[name] = (str(path), str(path.parent / "images"))
    for engine in ENGINES:
        train.run(_job(_cfg(settings, root / engine, "SOLVER.MAX_ITER", 20), sets, engine))
    torch.set_num_threads(threads)
    yield root, sets, settings


def _cfg(settings: Any, output: Path, *pairs: Any) -> Config:
    return config.merge(defaults.TREE, settings.TINY, ["OUTPUT_DIR", str(output), *pairs])


def _job(cfg: Config, sets: Sets, engine: str, **kind: Any) -> train.Job:
    return train.Job(cfg, sets, engine=engine, evaluate=coco_ap.evaluate, **kind)


def _losses(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "loss" in k} for line in lines if "total_loss" in line]


def test_equal_losses_weights_and_predictions(runs: tuple[Path, Sets, Any]) -> None:
    root, _, _ = runs
    ours, theirs = (root / engine for engine in ENGINES)
    assert _losses(ours) == _losses(theirs) and len(_losses(ours)) == 20
    mine, other = (checkpoint.load_weights(folder / "model_final.pth") for folder in (ours, theirs))
    assert mine["model"].keys() == other["model"].keys()
    assert all(torch.equal(mine["model"][key], value) for key, value in other["model"].items())
    found = json.loads((ours / "predictions.json").read_text())
    assert found and found == json.loads((theirs / "predictions.json").read_text())
    for folder, engine in zip((ours, theirs), ENGINES, strict=True):
        assert json.loads((folder / "predictions.meta.json").read_text())["engine"]["name"] == engine


@pytest.mark.parametrize(("trained", "evaluated"), [ENGINES, ENGINES[::-1]])
def test_a_detector_evaluates_the_same_under_the_other_engine(
    runs: tuple[Path, Sets, Any], tmp_path: Path, trained: str, evaluated: str
) -> None:
    root, sets, settings = runs
    cfg = _cfg(settings, tmp_path, "MODEL.WEIGHTS", str(root / trained / "model_final.pth"))
    train.run(_job(cfg, sets, evaluated, eval_only=True))
    for name in ("predictions.json", "results.json"):
        found, wanted = (json.loads((folder / name).read_text()) for folder in (tmp_path, root / trained))
        if name == "results.json":
            found, wanted = ({k: r[k] for k in ("bbox", "segm")} for r in (found, wanted))
        assert found == wanted, name


def test_stock_detectron2_reads_our_detector_exactly(runs: tuple[Path, Sets, Any]) -> None:
    from detectron2.checkpoint import DetectionCheckpointer

    from wsl_det.detector.engine import select_engine

    root, _, settings = runs
    model = select_engine("detectron2")(_cfg(settings, root / "unused")).build()
    left = DetectionCheckpointer(model).load(str(root / "embedded" / "model_final.pth"))
    assert "model" not in left
    wanted = checkpoint.load_weights(root / "embedded" / "model_final.pth")["model"]
    state = model.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_diverges_names_iteration_and_images(
    runs: tuple[Path, Sets, Any], tmp_path: Path, engine: str
) -> None:
    _, sets, settings = runs
    cfg = _cfg(settings, tmp_path, "SOLVER.BASE_LR", 1e18, "SOLVER.MAX_ITER", 20, "DATASETS.TEST", [])
    message = r"not finite at iteration \d+ \(rank 0 of images \[1\d, 1\d\]\).*learning rate"
    with pytest.raises(DataError, match=f"(?s){message}"):
        train.run(_job(cfg, sets, engine))


@pytest.mark.parametrize(
    "pairs",
    [
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
        ("MODEL.FPN.NORM", "LN"),
    ],
    ids=lambda pairs: str(pairs[0]),
)
def test_what_the_embedded_engine_refuses_runs_under_detectron2(
    runs: tuple[Path, Sets, Any], tmp_path: Path, pairs: tuple[Any, ...]
) -> None:
    """The message that names ``--engine detectron2`` must be true."""
    _, sets, settings = runs
    cfg = _cfg(settings, tmp_path / "run", "SOLVER.MAX_ITER", 2, *pairs)
    with pytest.raises(EngineError, match="--engine detectron2"):
        train.run(_job(cfg, sets, "embedded"))
    train.run(_job(cfg, sets, "detectron2"))
    assert len(_losses(tmp_path / "run")) == 2


def test_deformable_convolutions_train_on_gpus_only(runs: tuple[Path, Sets, Any], tmp_path: Path) -> None:
    _, sets, settings = runs
    deformed = ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True])
    with pytest.raises(EngineError, match=r"MODEL\.DEVICE cuda"):
        train.run(_job(_cfg(settings, tmp_path / "run", *deformed), sets, "detectron2"))
