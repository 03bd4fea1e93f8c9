"""The whole job on a tiny detector: files, exact resume, processes, and everything that is refused."""

from __future__ import annotations

import json
import pickle
import signal
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsl_det import predictions
from wsl_det.core import checkpoint, config, dist, loop
from wsl_det.core import seed as seeds
from wsl_det.detector import coco_records, defaults, initial, loader, train, weights
from wsl_det.detector.engine import select_engine
from wsl_det.errors import CheckpointError, ConfigError, DataError
from wsl_det.evaluation import coco_ap

AREAS, CLASSES = ("APs", "APm", "APl"), ("red", "blue")
LOSSES = {"total_loss", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}


def job(cfg, scenes, **kind):
    return train.Job(cfg, scenes, engine="embedded", evaluate=coco_ap.evaluate, **kind)


def final(folder):
    return checkpoint.load_weights(Path(folder) / "model_final.pth")


def metrics(folder):
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_scenes, tiny_tree):
    """A run of 4 iterations: (its folder, its data sets, the config)."""
    root = tmp_path_factory.mktemp("finished")
    sets = {}
    for name, count in (("train", 8), ("val", 3)):
        path = make_scenes(root / name, count, seed=count)
        sets[name] = (str(path), str(path.parent / "images"))
    overrides = [
        "OUTPUT_DIR",
        str(root / "run"),
        "SOLVER.CHECKPOINT_PERIOD",
        2,
        "TEST.EVAL_PERIOD",
        2,
        "VIS_PERIOD",
        4,
    ]
    cfg = config.merge(defaults.TREE, tiny_tree, overrides)
    results = train.run(job(cfg, sets))
    return root / "run", sets, cfg, results


def test_a_run_leaves_what_design_promises(finished):
    folder, _, cfg, results = finished
    for name in ("config.yaml", "log.txt", "model_0000001.pth", "model_0000003.pth", "model_final.pth"):
        assert (folder / name).is_file(), name
    events = b"".join(p.read_bytes() for p in folder.glob("events.out.tfevents.*"))
    assert b"bbox/AP" in events and b"val/10" in events
    steps = [m for m in metrics(folder) if "total_loss" in m]
    assert [m["iteration"] for m in steps] == [0, 1, 2, 3]
    assert all(LOSSES | {"lr", "time", "data_time"} <= m.keys() for m in steps)
    measured = {m["iteration"]: m for m in metrics(folder) if "total_loss" not in m}
    assert list(measured) == [1, 3]
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert config.load(folder / "config.yaml", defaults.TREE) == cfg
    found = json.loads((folder / "results.json").read_text())
    assert found["bbox"]["AP"] == results["val"]["bbox"]["AP"]
    assert set(found) == {"bbox", "segm", "meta"}
    scores = {f"{k}/{m}": found[k][m] for k in ("bbox", "segm") for m in ("AP", "AP50", "AP75", *AREAS)}
    scores |= {f"{k}/AP-{c}": found[k]["AP_by_class"][c]["AP"] for k in ("bbox", "segm") for c in CLASSES}
    scores = {k: v for k, v in scores.items() if v is not None}
    assert measured[3] == {"iteration": 3, **scores} and measured[1].keys() >= {"bbox/AP", "segm/AP50"}


def test_predictions_say_what_made_them(finished):
    folder, *_ = finished
    found = predictions.read(folder / "predictions.json")
    assert set(found.category_ids) <= {3, 8} and set(found.image_ids) <= {10, 11, 12}
    assert found.iou_types == ("bbox", "segm")
    meta = found.meta
    assert meta["dataset"]["name"] == "val" and meta["dataset"]["images"] == 3
    assert meta["engine"]["name"] == "embedded"
    assert meta["weights"]["path"].endswith("model_final.pth") and len(meta["weights"]["sha256"]) == 64
    assert meta["backbone"] is None and meta["sweep"] is None
    assert meta["config"]["SOLVER"]["MAX_ITER"] == 4


def test_the_final_weights_name_their_origin(finished):
    folder, *_ = finished
    header = final(folder)["wsl_det"]
    assert header["kind"] == "detector"
    assert header["categories"] == [{"id": 3, "name": "red"}, {"id": 8, "name": "blue"}]
    assert header["config"]["SEED"] == 5


def test_eval_only_gives_the_same_numbers(finished, tmp_path):
    folder, sets, cfg, results = finished
    again = cfg.override(OUTPUT_DIR=str(tmp_path / "eval"), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    found = train.run(job(again, sets, eval_only=True))
    assert found["val"]["bbox"] == results["val"]["bbox"]
    assert (tmp_path / "eval" / "predictions.json").read_bytes() == (folder / "predictions.json").read_bytes()


def test_several_test_sets_have_a_file_each(finished, tmp_path):
    folder, sets, cfg, _ = finished
    both = {**sets, "other": sets["val"]}
    again = cfg.override(
        OUTPUT_DIR=str(tmp_path),
        MODEL__WEIGHTS=str(folder / "model_final.pth"),
        DATASETS__TEST=["val", "other"],
    )
    assert set(train.run(job(again, both, eval_only=True))) == {"val", "other"}
    kinds = ("predictions.{}.json", "predictions.{}.meta.json", "results.{}.json")
    expected = {kind.format(name) for kind in kinds for name in ("val", "other")}
    assert {p.name for p in tmp_path.glob("*.json")} == expected


def test_a_finished_run_is_refused_and_can_be_resumed(finished):
    folder, sets, cfg, _ = finished
    with pytest.raises(ConfigError, match="already holds a finished run; pass --resume"):
        train.run(job(cfg, sets))
    before = final(folder)["model"]
    train.run(job(cfg, sets, resume=True))
    assert all(torch.equal(v, before[k]) for k, v in final(folder)["model"].items())
    assert [m["iteration"] for m in metrics(folder)] == [0, 1, 1, 2, 3, 3]


def test_a_run_cannot_be_resumed_with_other_settings(finished):
    folder, sets, cfg, _ = finished
    with pytest.raises(CheckpointError, match=r"SOLVER\.BASE_LR: 0\.005 then, 0\.1 now"):
        train.run(job(cfg.override(SOLVER__BASE_LR=0.1), sets, resume=True))
    assert config.load(folder / "config.yaml", defaults.TREE) == cfg


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SOLVER.STEPS", [3, 2]], "increasing iterations"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 5.0], "BASE_LR_END is 5"),
        (["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [2.0, 0.5]], "CROP.SIZE is"),
        (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", [64, 48]], "rising sizes"),
    ],
)
def test_settings_are_refused_before_the_folder_is_touched(scenes, tiny, overrides, message):
    cfg = tiny(*overrides)
    with pytest.raises(ConfigError, match=message):
        train.run(job(cfg, scenes))
    assert not Path(cfg.OUTPUT_DIR).exists()


def test_expected_results_are_checked(finished, tmp_path):
    folder, sets, cfg, results = finished
    again = cfg.override(OUTPUT_DIR=str(tmp_path), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    met = [["bbox", "AP", results["val"]["bbox"]["AP"], 0.01]]
    train.run(job(again.override(TEST__EXPECTED_RESULTS=met), sets, eval_only=True))
    missed = [["bbox", "AP", 150.0, 0.01]]
    with pytest.raises(DataError, match=r"val bbox AP: .* expected 150"):
        train.run(job(again.override(TEST__EXPECTED_RESULTS=missed), sets, eval_only=True))


def test_a_detector_fits_exactly_or_not_at_all(finished, tmp_path):
    folder, sets, cfg, _ = finished
    again = cfg.override(OUTPUT_DIR=str(tmp_path / "x"), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    with pytest.raises(CheckpointError, match=r"roi_heads\.mask_head"):
        train.run(job(again.override(MODEL__MASK_ON=False), sets, eval_only=True))
    three = cfg.override(OUTPUT_DIR=str(tmp_path / "x"), DATASETS__TEST=[], MODEL__ROI_HEADS__NUM_CLASSES=3)
    differ = pytest.raises(
        CheckpointError, match=r"Only the layers of the classes differ(.|\n)*export_backbone"
    )
    with differ:
        val = changed(sets["val"], tmp_path, lambda t: t["categories"].append({"id": 9, "name": "green"}))
        only = again.override(MODEL__ROI_HEADS__NUM_CLASSES=3)
        train.run(job(only, {**sets, "val": val}, eval_only=True))
    more = changed(sets["train"], tmp_path, lambda t: t["categories"].append({"id": 9, "name": "green"}))
    with differ:
        train.run(job(three.override(MODEL__WEIGHTS=again.MODEL.WEIGHTS), {**sets, "train": more}))
    assert not (tmp_path / "x").exists()


def changed(one, folder, change):
    """A data set whose annotation file went through ``change``, beside the old one."""
    tree = json.loads(Path(one[0]).read_text())
    change(tree)
    other = folder / "other.json"
    other.write_text(json.dumps(tree))
    return str(other), one[1]


def renamed(tree):
    for category, name in zip(tree["categories"], ("blue", "red"), strict=True):
        category["name"] = name


def renumbered(tree):
    """Other ids with equal names in id order."""
    new = {c["id"]: 100 + c["id"] for c in tree["categories"]}
    for category in tree["categories"]:
        category["id"] = new[category["id"]]
    for annotation in tree["annotations"]:
        annotation["category_id"] = new[annotation["category_id"]]


def test_categories_are_compared_by_name_in_id_order_at_both_doors(finished, tmp_path):
    folder, sets, cfg, results = finished
    again = cfg.override(OUTPUT_DIR=str(tmp_path / "x"), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    swapped = {**sets, "val": changed(sets["val"], tmp_path, renamed)}
    wrong = "other categories than .*number 1 is 'blue' here and 'red' there .the same names in another order"
    with pytest.raises(CheckpointError, match=wrong):
        train.run(job(again, swapped, eval_only=True))
    with pytest.raises(DataError, match=wrong):
        train.run(job(cfg.override(OUTPUT_DIR=str(tmp_path / "x")), swapped))
    assert not (tmp_path / "x").exists()
    shifted = {**sets, "val": changed(sets["val"], tmp_path, renumbered)}
    found = train.run(job(again, shifted, eval_only=True))
    assert found["val"]["bbox"]["AP"] == results["val"]["bbox"]["AP"]


def without_area(tree):
    del tree["annotations"][0]["area"]


def without_mask(tree):
    tree["annotations"][0]["segmentation"] = None


def negative(tree):
    tree["annotations"][0]["bbox"][2] *= -1


def federated(tree):
    tree["images"][0]["neg_category_ids"] = []


def moved(tree):
    for image in tree["images"]:
        image["file_name"] = "images\\" + image["file_name"]


def turned(tree):
    for image in tree["images"]:
        image["height"], image["width"] = image["width"], image["height"] + 1
    for annotation in tree["annotations"]:
        annotation["bbox"] = [1, 1, 9, 9]
        annotation["segmentation"] = [[1, 1, 10, 1, 10, 10]]


UNSCORABLE = [
    (without_area, "has no 'area'"),
    (without_mask, "has no segmentation; masks need"),
    (negative, "bbox of negative width"),
    (federated, "neg_category_ids"),
    (moved, "photos cannot be used.*does not exist; file names with back slashes"),
    (turned, "photos cannot be used.*its annotations say"),
]


@pytest.mark.parametrize(("change", "message"), UNSCORABLE, ids=[c.__name__ for c, _ in UNSCORABLE])
def test_a_test_set_that_cannot_be_scored_is_refused_before_the_training(
    tiny, scenes, tmp_path, change, message
):
    sets = {**scenes, "val": changed(scenes["val"], tmp_path, change)}
    cfg = tiny("OUTPUT_DIR", str(tmp_path / "run"))
    with pytest.raises(DataError, match=message):
        train.run(job(cfg, sets))
    assert not (tmp_path / "run").exists()


def test_deep_test_photos_are_refused_before_the_training(tiny, scenes):
    for photo in Path(scenes["val"][1]).iterdir():
        grey = np.asarray(Image.open(photo).convert("L"))
        Image.fromarray(grey.astype(np.uint16)).save(photo)
    cfg = tiny()
    with pytest.raises(DataError, match=r"3 of 3 photos cannot be used.*more than 8 bits"):
        train.run(job(cfg, scenes))
    assert not Path(cfg.OUTPUT_DIR).exists()


@pytest.fixture
def stop_after(monkeypatch):
    """Makes SIGTERM arrive during an iteration of the next run."""

    def stop(iteration):
        step = loop.Loop._step

        def signalled(self, batch, i):
            if i == iteration:
                signal.raise_signal(signal.SIGTERM)
            return step(self, batch, i)

        monkeypatch.setattr(loop.Loop, "_step", signalled)

    return stop


def test_a_stopped_run_resumes_exactly(finished, tmp_path, stop_after, monkeypatch):
    folder, sets, cfg, _ = finished
    cfg = cfg.override(OUTPUT_DIR=str(tmp_path / "run"), SOLVER__CHECKPOINT_PERIOD=1000)
    with monkeypatch.context():
        stop_after(1)
        with pytest.raises(SystemExit):
            train.run(job(cfg, sets))
    monkeypatch.undo()
    assert (tmp_path / "run" / "model_0000001.pth").is_file()
    assert not (tmp_path / "run" / "model_final.pth").exists()
    train.run(job(cfg, sets, resume=True))
    expected = final(folder)["model"]
    found = final(tmp_path / "run")["model"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in found.items())
    losses = [[m["total_loss"] for m in metrics(f) if "total_loss" in m] for f in (folder, tmp_path / "run")]
    assert losses[0] == losses[1]


def test_resume_without_a_checkpoint_starts_from_the_beginning(scenes, tiny):
    cfg = tiny("DATASETS.TEST", [], "SOLVER.MAX_ITER", 1)
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"iteration": 0, "total_loss": 1}\n{"itera')
    train.run(job(cfg, scenes, resume=True))
    assert "starting from the beginning" in (folder / "log.txt").read_text()
    assert [m["iteration"] for m in metrics(folder)] == [0]


def test_a_seed_that_was_drawn_is_recorded(scenes, tiny):
    cfg = tiny("SEED", -1, "DATASETS.TEST", [], "SOLVER.MAX_ITER", 1)
    train.run(job(cfg, scenes))
    assert config.load(Path(cfg.OUTPUT_DIR) / "config.yaml", defaults.TREE).SEED >= 0


def test_a_loss_that_is_not_finite_names_the_images(scenes, tiny):
    cfg = tiny("SOLVER.BASE_LR", 1e18, "DATASETS.TEST", [], "SOLVER.MAX_ITER", 20)
    with pytest.raises(DataError, match=r"not finite at iteration \d+ .*images \[1\d, 1\d\].*learning rate"):
        train.run(job(cfg, scenes))


def test_faster_rcnn_leaves_masks_out(scenes, tiny):
    cfg = tiny("MODEL.MASK_ON", False, "SOLVER.MAX_ITER", 1)
    results = train.run(job(cfg, scenes))
    assert set(results["val"]) == {"bbox", "meta"}
    assert all("loss_mask" not in m for m in metrics(cfg.OUTPUT_DIR))


def test_detectron2s_old_zoo_files_load(finished, tmp_path):
    """Their pickles hold numpy arrays, and buffers that newer versions compute."""
    folder, sets, cfg, results = finished
    model = {k: v.numpy() for k, v in final(folder)["model"].items()}
    anchors = {"proposal_generator.anchor_generator.cell_anchors.0": np.zeros((3, 4), dtype=np.float32)}
    path = tmp_path / "model_final_0123ab.pkl"
    path.write_bytes(pickle.dumps({"model": {**model, **anchors}, "__author__": "Detectron2"}))
    again = cfg.override(OUTPUT_DIR=str(tmp_path / "o"), MODEL__WEIGHTS=str(path))
    found = train.run(job(again, sets, eval_only=True))
    assert found["val"]["bbox"] == results["val"]["bbox"]


def test_a_test_set_without_annotations_gives_nulls(finished, tmp_path):
    folder, sets, cfg, _ = finished
    tree = json.loads(Path(sets["val"][0]).read_text())
    del tree["annotations"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(tree))
    again = cfg.override(OUTPUT_DIR=str(tmp_path / "o"), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    results = train.run(job(again, {**sets, "val": (str(bare), sets["val"][1])}, eval_only=True))
    assert results["val"]["bbox"]["AP"] is None
    assert len(predictions.read(tmp_path / "o" / "predictions.json")) > 0


REFUSED = [
    (["MODEL.RESNETS.NORM", "FrozenBN"], ConfigError, "FrozenBN: frozen statistics"),
    (["MODEL.BACKBONE.FREEZE_AT", 2], ConfigError, "FREEZE_AT is 2: random stages"),
    (["MODEL.ROI_HEADS.NUM_CLASSES", 80], ConfigError, "NUM_CLASSES is 80.*has 2 categories"),
    (["MODEL.WEIGHTS", "weights/none.pth"], ConfigError, "wsl-det download_model"),
    (["MODEL.WEIGHTS", "zoo://x"], ConfigError, "zoo:// names work on the command lines"),
    (["DATASETS.TRAIN", ["trian"]], ConfigError, "did you mean train"),
    (["DATASETS.TRAIN", []], ConfigError, "DATASETS.TRAIN is empty"),
    (["TEST.AUG.ENABLED", True], ConfigError, "TEST.AUG.ENABLED"),
    (["SOLVER.MAX_ITER", 0], ConfigError, "MAX_ITER is 0"),
    (["INPUT.MASK_FORMAT", "rle"], ConfigError, "polygon or bitmask"),
]


@pytest.mark.parametrize(("overrides", "kind", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_written(scenes, tiny, overrides, kind, message):
    with pytest.raises(kind, match=message):
        train.run(job(tiny(*overrides), scenes))
    assert not Path(tiny().OUTPUT_DIR).exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"hello"])
def test_broken_weights_are_refused(scenes, tiny, tmp_path, content):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    cfg = tiny("MODEL.WEIGHTS", str(path))
    with pytest.raises(CheckpointError, match=r"broken\.pth"):
        train.run(job(cfg, scenes))
    assert not Path(cfg.OUTPUT_DIR).exists()


def test_foreign_weights_are_answered_with_the_converter(scenes, tiny, tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"export_backbone .*resnet\.pth"):
        train.run(job(tiny("MODEL.WEIGHTS", str(path)), scenes))


def test_the_head_of_a_config_tells_how_to_make_its_weights(tmp_path):
    path = tmp_path / "c.yaml"
    commands = "#   wsl-det download_model a --dest weights\n#   wsl-det export_backbone b weights/a.pth"
    path.write_text(f"# Mask R-CNN\n{commands}\nMODEL:\n")
    cfg = config.merge(defaults.TREE, {"MODEL": {"WEIGHTS": "weights/a.pth"}})
    with pytest.raises(
        ConfigError, match=r"make it with:\n  wsl-det download_model a .*\n  wsl-det export_b"
    ):
        weights.check(cfg, path)


def test_an_empty_output_of_eval_only_needs_weights(scenes, tiny):
    with pytest.raises(ConfigError, match="--eval-only needs a detector"):
        train.run(job(tiny(), scenes, eval_only=True))


@pytest.mark.slow
def test_two_processes_give_the_mean_of_their_gradients(scenes, tiny):
    cfg = tiny(
        "SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 1, "SOLVER.WEIGHT_DECAY", 0.0, "DATASETS.TEST", []
    )
    dist.launch(train.run, (job(cfg, scenes),), num_gpus=2)
    found = final(cfg.OUTPUT_DIR)["model"]
    records = coco_records.training_records(
        [coco_records.read(*scenes["train"], "train")], masks="polygon", keep_empty=False
    )
    gradients = []
    for rank in range(2):
        engine = select_engine("embedded")(cfg)
        model = engine.build()
        initial.draw(model, cfg.SEED)
        budget = loader.Budget(8, 0.0)
        source = loader.training_batches(cfg, records, budget, seed=5, rank=rank, world_size=2, start=0)
        (batch,) = islice(source, 1)
        model.train()
        with engine.running(seeds.derive(cfg.SEED, "step", 0, rank)):
            sum(model(engine.encode(batch)).values()).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters()})
    for name, parameter in model.named_parameters():
        expected = parameter.detach() - cfg.SOLVER.BASE_LR * (gradients[0][name] + gradients[1][name]) / 2
        # The all-reduce may add in another order than + does.
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_two_processes_detect_what_one_detects(finished, tmp_path):
    folder, sets, cfg, _ = finished
    again = cfg.override(OUTPUT_DIR=str(tmp_path), MODEL__WEIGHTS=str(folder / "model_final.pth"))
    dist.launch(train.run, (job(again, sets, eval_only=True),), num_gpus=2)
    assert (tmp_path / "predictions.json").read_bytes() == (folder / "predictions.json").read_bytes()
    assert (tmp_path / "results.json").is_file()


@pytest.mark.slow
def test_an_error_in_a_child_process_is_one_clear_message(scenes, tiny):
    with pytest.raises(ConfigError, match="NUM_CLASSES is 80"):
        dist.launch(train.run, (job(tiny("MODEL.ROI_HEADS.NUM_CLASSES", 80), scenes),), num_gpus=2)
