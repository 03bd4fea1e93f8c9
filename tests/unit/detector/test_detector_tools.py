"""The three tools at their doors: what a user gets wrong ends with one message on stderr and exit code 2."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from wsl_det import errors

ROOT = Path(__file__).parents[3]


def tool(name):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train_net(scenes, tiny_tree, tmp_path, capsys, monkeypatch):
    """Runs train_net on the tiny detector: (exit code, stderr) of extra words."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_tree))
    words = ["--config-file", str(path), "--engine", "embedded"]
    for name, (json_path, folder) in scenes.items():
        words += ["--register", name, json_path, folder]
    monkeypatch.chdir(tmp_path)

    def run(*extra):
        code = errors.run(tool("train_net").main, [*words, "OUTPUT_DIR", "run", *map(str, extra)])
        return code, capsys.readouterr()

    return run


def test_a_run_ends_with_0_and_its_numbers(train_net, tmp_path):
    code, text = train_net("SOLVER.MAX_ITER", 1)
    assert code == 0
    assert "val:\nbbox: AP " in text.out and "segm: AP " in text.out
    again, text = train_net("SOLVER.MAX_ITER", 1)
    assert again == 2 and "already holds a finished run; pass --resume" in text.err


def spoil(path, change):
    tree = json.loads(Path(path).read_text())
    change(tree)
    Path(path).write_text(json.dumps(tree))


BROKEN = {
    "repeated id": (lambda t: t["images"].append(t["images"][0]), "image id 10 is given twice"),
    "dangling": (lambda t: t["annotations"][0].update(image_id=77), "refers to image 77"),
    "no bbox": (lambda t: t["annotations"][0].pop("bbox"), "has no 'bbox'"),
    "no annotations": (lambda t: t.pop("annotations"), "has no annotations"),
    "another category": (lambda t: t["categories"].append({"id": 9, "name": "x"}), "has 3 categories"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations_end_with_their_place(train_net, scenes, tmp_path, case):
    change, message = BROKEN[case]
    spoil(scenes["train"][0], change)
    code, text = train_net()
    assert code == 2 and message in text.err
    assert "Traceback" not in text.err and text.err.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["SOLVER.BASE_LRR", 0.1], "did you mean SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR"], "KEY VALUE pairs"),
        (["SOLVER.BASE_LR", "fast"], "expected a float"),
        (["MODEL.WEIGHTS", "weights/x.pth"], "weights/x.pth does not exist"),
        (["DATASETS.TEST", "('coco_2017_val',)"], "DETECTRON2_DATASETS"),
        (["MODEL.DEVICE", "cuda"], "MODEL.DEVICE cpu"),
        (["--eval-only"], "--eval-only needs a detector"),
        (["--config-file", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_what_a_command_line_gets_wrong(train_net, tmp_path, extra, message, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    code, text = train_net(*extra)
    assert code == 2 and message in text.err and "Traceback" not in text.err
    assert not (tmp_path / "run").exists()


def test_truncated_files_end_with_their_name(train_net, scenes, tmp_path):
    whole = Path(scenes["train"][0]).read_bytes()
    Path(scenes["train"][0]).write_bytes(whole[: len(whole) // 2])
    code, text = train_net()
    assert code == 2 and "not whole JSON" in text.err
    assert not (tmp_path / "run").exists()


def test_a_bad_image_is_skipped_and_told(train_net, scenes, tmp_path):
    (Path(scenes["train"][1]) / "3.png").write_bytes(b"\x89PNG cut")
    code, text = train_net("SOLVER.MAX_ITER", 4)
    assert code == 0 and "1 images could not be used" in text.err and "3.png" in text.err


def test_drawing_tool(scenes, tmp_path, capsys):
    gt, folder = scenes["val"]
    predicted = tmp_path / "p.json"
    predicted.write_text("[]")
    words = ["--gt", gt, "--images", folder, "--output", str(tmp_path / "out"), "--predictions"]
    assert errors.run(tool("draw_predictions").main, [*words, str(predicted)]) == 0
    assert f"3 pictures in {tmp_path / 'out'}" in capsys.readouterr().out
    assert errors.run(tool("draw_predictions").main, [*words, str(tmp_path / "no.json")]) == 2
    assert "no.json does not exist" in capsys.readouterr().err


def test_predict_tool_names_a_missing_checkpoint(scenes, tmp_path, capsys):
    words = [
        "--config-file",
        "configs/mask_rcnn_ig.yaml",
        "--weights",
        "no.pth",
        "--images",
        scenes["val"][1],
    ]
    code = errors.run(tool("predict").main, [*words, "--output", str(tmp_path / "o"), "MODEL.DEVICE", "cpu"])
    assert code == 2 and "no.pth does not exist" in capsys.readouterr().err
