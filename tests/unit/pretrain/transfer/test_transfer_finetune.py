"""Fine-tuning: learns, resumes to the same weights, and ends in a run that export accepts."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch
import transfer_world as world

from pretrain.transfer import features, tuning
from wsl_det import errors
from wsl_det.backbone import export, sources
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError

TOOL = runpy.run_path(str(Path(__file__).parents[4] / "tools" / "eval_transfer.py"))["main"]
WORDS = ("--mode", "finetune", "--batch", "8", "--bn-group", "4", "--epochs", "4", "--threads", "1")


def _tune(root: Path, name: str, *words: str) -> int:
    argv = ["--backbone", str(root / "run"), "--data", str(root / "data"), "--output", str(root / name)]
    return errors.run(TOOL, [*argv, *WORDS, *words])


def test_a_run_that_export_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(tmp_path / "run")
    world.write(tmp_path / "data")
    assert _tune(tmp_path, "R.json", "--rates", "0.01", "0.3") == 0
    found = json.loads((tmp_path / "R.json").read_text())
    assert [rate for rate, _ in found["finetune"]["search"]["tried"]] == [0.01, 0.3]
    assert found["finetune"]["images"] == 96
    assert found["pretraining"]["sampling"] == "sqrt"
    source = sources.read(tmp_path / "R")
    made, _ = export.export(source, tmp_path / "b.pth")
    assert made.meta["provenance"]["training_data"] == "train-posts-24-4; then data (3 classes)"
    assert made.meta["provenance"]["fine_tuned_on_in1k"] == "no"
    assert made.meta["pretraining"]["images"] == 24
    assert made.meta["view"] == {"size": 32, "resize": 36}
    # Its own head answers for the folders as the run's result does.
    argv = ["--backbone", str(tmp_path / "R"), "--data", str(tmp_path / "data"), "--mode", "head"]
    assert errors.run(TOOL, [*argv, "--output", str(tmp_path / "H.json"), "--threads", "1"]) == 0
    head = json.loads((tmp_path / "H.json").read_text())
    assert head["by_class"] == found["by_class"]
    # Again without --resume is refused; with it nothing is trained again.
    assert _tune(tmp_path, "R.json", "--rates", "0.01", "0.3") == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert _tune(tmp_path, "R.json", "--rates", "0.01", "0.3", "--resume") == 0
    assert json.loads((tmp_path / "R.json").read_text())["by_class"] == found["by_class"]


def test_resumed_runs_end_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(tmp_path / "run")
    world.write(tmp_path / "data")
    assert _tune(tmp_path, "whole.json", "--rates", "0.05") == 0
    monkeypatch.setattr(tuning.Recipe, "checkpoint_period", 4)
    count = 0
    losses = tuning.Tuning._losses

    def dies(self: tuning.Tuning, batch: object, iteration: int) -> object:
        nonlocal count
        count += 1
        if count == 7:
            raise KeyboardInterrupt
        return losses(self, batch, iteration)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning.Tuning, "_losses", dies)
    monkeypatch.setattr(tuning.Recipe, "__init__", _with_period(tuning.Recipe.__init__, 4))
    assert _tune(tmp_path, "cut.json", "--rates", "0.05") == 130
    assert not (tmp_path / "cut.json").exists()
    assert checkpoint.RunFolder(tmp_path / "cut").latest() is not None
    assert _tune(tmp_path, "cut.json", "--rates", "0.05", "--resume") == 0
    assert count == 7 + 8  # 6 steps and a death; then from step 4 to 12
    one, two = (
        checkpoint.load_weights(tmp_path / name / "model_final.pth")["model"] for name in ("whole", "cut")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def _with_period(init: object, period: int) -> object:
    def made(self: object, *args: object, **kwargs: object) -> None:
        init(self, *args, **{**kwargs, "checkpoint_period": period})  # type: ignore[operator]

    return made


def test_folded_statistics_cannot_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = world.run(tmp_path / "run")
    world.write(tmp_path / "data")
    payload = checkpoint.load_weights(folder / "model_final.pth")
    for name, value in payload["model"].items():
        if name.endswith("running_mean"):
            value.zero_()
        elif name.endswith("running_var"):
            value.fill_(1)
    torch.save(payload, folder / "model_final.pth")
    assert _tune(tmp_path, "R.json", "--rates", "0.05") == 2
    assert "folded" in capsys.readouterr().err


def test_the_rule_for_the_length() -> None:
    assert tuning.images_to_see(1000) == 300_000
    assert tuning.images_to_see(4000) == 600_000
    assert round(tuning.images_to_see(1_281_167) / 1_281_167, 1) == 8.4


def test_no_head_in_a_backbone(tmp_path: Path) -> None:
    from pretrain.transfer import backbone

    source = sources.read(world.run(tmp_path / "run"))
    export.export(source, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        backbone.with_head(sources.read(tmp_path / "b.pth"))
    assert backbone.with_head(source).fc.out_features == 4
    assert features.View().size == 224
