"""The three tools at their doors: what a user gets wrong ends with one message on stderr and exit code 2."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from msgspec.structs import replace

from wsl_det import errors
from wsl_det.core import checkpoint, files
from wsl_det.zoo import catalogue

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
    assert "val:\nprotocol: COCO, at most 100 detections an image and class\nbbox: AP " in text.out
    assert "segm: AP " in text.out
    again, text = train_net("SOLVER.MAX_ITER", 1)
    assert again == 2 and "already holds a finished run; pass --resume" in text.err


@pytest.fixture
def in_the_zoo(tmp_path, monkeypatch):
    """Puts a file among the published ones, as if it had been downloaded into weights/."""
    monkeypatch.setenv("WSL_DET_OFFLINE", "1")

    def put(name: str, like: str, file_name: str, write) -> None:
        path = tmp_path / "weights" / file_name
        path.parent.mkdir(exist_ok=True)
        write(path)
        # With its hash published: a file of unknown digits would have to be as large as its kind is.
        entry = replace(
            catalogue.find(like),
            name=name,
            url=f"https://example.org/{file_name}",
            sha256=files.sha256(path),
            **{"hash_algorithm": None, "hash_prefix": None, "bytes": None},
        )
        monkeypatch.setattr(catalogue, "entries", lambda: {name: entry})

    return put


def test_eval_only_takes_a_detector_of_the_zoo(train_net, in_the_zoo, tmp_path):
    """A file in the format of Detectron2's zoo: a pickle of numpy arrays under its own keys."""
    assert train_net("SOLVER.MAX_ITER", 1)[0] == 0
    expected = json.loads((tmp_path / "run" / "results.json").read_text())
    model = checkpoint.load_weights(tmp_path / "run" / "model_final.pth")["model"]
    arrays = {k: v.numpy() for k, v in model.items()}
    arrays |= {"pixel_mean": np.zeros((3, 1, 1), np.float32)}
    payload = {"model": arrays, "__author__": "Detectron2"}
    in_the_zoo(
        "mask_rcnn_tiny",
        "mask_rcnn_R_50_FPN_3x",
        "model_final_0123ab.pkl",
        lambda path: path.write_bytes(pickle.dumps(payload)),
    )
    code, text = train_net("--eval-only", "MODEL.WEIGHTS", "zoo://mask_rcnn_tiny", "OUTPUT_DIR", "again")
    assert code == 0, text.err
    found = json.loads((tmp_path / "again" / "results.json").read_text())
    assert (found["bbox"], found["segm"]) == (expected["bbox"], expected["segm"])
    code, text = train_net("--eval-only", "MODEL.WEIGHTS", "zoo://mask_rcnn_tine", "OUTPUT_DIR", "again")
    assert code == 2 and "did you mean mask_rcnn_tiny?" in text.err


def test_a_trunk_of_the_zoo_is_exported_proved_and_told_in_every_header(train_net, in_the_zoo, tmp_path):
    from torchvision.models import resnet

    trunk = resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2], num_classes=2)
    for module in trunk.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    in_the_zoo(
        "resnet18_own", "resnet18", "resnet18-own.pth", lambda path: torch.save(trunk.state_dict(), path)
    )
    shape = ["DEPTH", 18, "STEM_OUT_CHANNELS", 64, "RES2_OUT_CHANNELS", 64, "WIDTH_PER_GROUP", 64]
    keys = [f"MODEL.RESNETS.{w}" if isinstance(w, str) else w for w in shape]
    keys += ["INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675,116.28,103.53]"]
    keys += ["MODEL.PIXEL_STD", "[58.395,57.12,57.375]", "SOLVER.MAX_ITER", 1]
    code, text = train_net("MODEL.WEIGHTS", "zoo://resnet18_own", *keys)
    assert code == 0, text.err
    told = json.loads((tmp_path / "run" / "predictions.meta.json").read_text())["backbone"]
    assert told["licence"]["name"] == "torchvision"
    assert told["provenance"]["fine_tuned_on_in1k"] == "yes"
    proof = told["certificate"]
    assert (proof["keys used"], proof["keys missing"]) == (100, 0)
    assert proof["largest relative error of features"] < 1e-4
    # Weights that were changed after their export do not start a run.
    artifact = tmp_path / "weights" / "resnet18_own.pth"
    payload = torch.load(artifact, weights_only=True)
    payload["model"]["stem.conv1.weight"] *= 2
    torch.save(payload, artifact)
    code, text = train_net("MODEL.WEIGHTS", str(artifact), *keys, "OUTPUT_DIR", "other")
    assert code == 2 and "certifies another file" in text.err
    assert not (tmp_path / "other").exists()


def spoil(path, change):
    tree = json.loads(Path(path).read_text())
    change(tree)
    Path(path).write_text(json.dumps(tree))


BROKEN = {
    "repeated id": (lambda t: t["images"].append(t["images"][0]), "image id 10 stands twice"),
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
    assert code == 0 and "1 photos of" in text.err and "cannot be used" in text.err and "3.png" in text.err


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
