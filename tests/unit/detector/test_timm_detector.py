"""Trunks of timm's in a detector: pyramids, norms by certificate, optimiser, pixels, whole runs."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from wsl_det.backbone import export, timm_source
from wsl_det.backbone.pyramids import FPN, SimplePyramid
from wsl_det.core import checkpoint, config
from wsl_det.detector import defaults, initial, settings, solver, train, trunks, weights
from wsl_det.detector.engine import select_engine
from wsl_det.errors import CheckpointError, ConfigError, EngineError

KINDS = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit")


@pytest.fixture
def tiny(little):
    tree = copy.deepcopy(little.TINY)
    tree["MODEL"]["BACKBONE"] = {"NAME": trunks.TIMM}
    tree["MODEL"]["FPN"] = {"OUT_CHANNELS": 8}
    del tree["MODEL"]["RESNETS"]

    def make(name, *pairs):
        return config.merge(defaults.TREE, tree, ["MODEL.TIMM.NAME", name, *pairs])

    return make


@pytest.fixture
def little():
    import train_runs

    return train_runs.settings()


@pytest.fixture
def drawn(tmp_path):
    def make(name, seed=0):
        path = tmp_path / f"{name}-{seed}.pth"
        export.export(timm_source.untrained(name, seed), path)
        return str(path)

    return make


@pytest.mark.parametrize("name", KINDS)
def test_one_step_has_finite_gradients_everywhere(tiny, name):
    cfg = trunks.settled(tiny(name))
    engine = select_engine("embedded")(cfg)
    model = engine.build()
    assert isinstance(model.backbone, SimplePyramid if name == "test_vit" else FPN)
    initial.draw(model, 1)
    maps = model.backbone(torch.rand(1, 3, 96, 160))
    assert list(maps) == ["p2", "p3", "p4", "p5", "p6"]
    sum(v.sum() for v in maps.values()).backward()
    learns = {k: p.grad for k, p in model.backbone.named_parameters() if p.requires_grad}
    assert all(g is not None and g.isfinite().all() for g in learns.values())


@pytest.mark.parametrize(("name", "optimizer"), [("test_efficientnet", "SGD"), ("test_vit", "ADAMW")])
def test_a_run_trains_detects_and_goes_on(tiny, little, drawn, tmp_path, name, optimizer):
    registered = {}
    for part, count in (("train", 4), ("val", 2)):
        path = little.write_scenes(tmp_path / part, count)
        registered[part] = (path, path.parent / "images")
    start = drawn(name)
    more = ("SOLVER.OPTIMIZER", optimizer, "SOLVER.LAYER_DECAY", 0.7, "SOLVER.MAX_ITER", 2)
    cfg = tiny(name, "MODEL.WEIGHTS", start, "OUTPUT_DIR", str(tmp_path / "run"), *more)
    job = train.Job(cfg, registered, "embedded")
    train.run(job)
    saved = checkpoint.load_weights(tmp_path / "run" / "model_final.pth")
    assert saved["wsl_det"]["backbone"]["bn"] == "initial"
    assert saved["wsl_det"]["config"]["INPUT"]["FORMAT"] == "RGB"
    moved = checkpoint.load_weights(start)["model"]
    assert any(not torch.equal(v, saved["model"][f"backbone.bottom_up.model.{k}"]) for k, v in moved.items())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "total_loss" in line] == [0, 1]
    again = cfg.override(
        MODEL__WEIGHTS=str(tmp_path / "run" / "model_final.pth"), OUTPUT_DIR=str(tmp_path / "e")
    )
    train.run(train.Job(again, registered, "embedded", eval_only=True))
    found, wanted = ((tmp_path / p / "predictions.json").read_text() for p in ("e", "run"))
    assert found == wanted


def test_norms_follow_the_certificate(tiny, drawn, tmp_path):
    start = drawn("test_resnet")
    assert not trunks.frozen_norm(tiny("test_resnet", "MODEL.WEIGHTS", start))
    assert not trunks.frozen_norm(tiny("test_resnet"))
    told = checkpoint.load_weights(start)
    told["model"] = {k: v + 0.5 for k, v in told["model"].items()}
    told["meta"]["bn"] = "statistics"
    checkpoint.save(tmp_path / "trained.pth", told)
    trained = tiny("test_resnet", "MODEL.WEIGHTS", str(tmp_path / "trained.pth"))
    assert trunks.frozen_norm(trained)
    assert not trunks.frozen_norm(trained.override(MODEL__TIMM__FREEZE_NORM="False"))


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (("MODEL.TIMM.FREEZE_AT", 1), "FREEZE_AT is 1, but nothing has trained"),
        (("MODEL.TIMM.FREEZE_NORM", "True"), "FREEZE_NORM is True, but nothing has trained"),
        (("MODEL.TIMM.NAME", "test_efficientnet"), "NAME is test_efficientnet, the backbone is test_resnet"),
        (("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0]), "PIXEL_MEAN is"),
    ],
)
def test_what_does_not_fit_the_artifact_is_told(tiny, drawn, pairs, told):
    cfg = trunks.settled(tiny("test_resnet", "MODEL.WEIGHTS", drawn("test_resnet"), *pairs))
    with pytest.raises(CheckpointError, match=told):
        weights.load(select_engine("embedded")(cfg).build(), cfg, 1)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (("MODEL.TIMM.NAME", ""), "NAME is empty"),
        (("MODEL.FPN.IN_FEATURES", ["res2", "res6"]), "offers .*res5"),
        (("MODEL.TIMM.OUT_FEATURES", ["res2", "res4"]), "needs neighbours"),
    ],
)
def test_what_no_pyramid_is_made_of(tiny, pairs, told):
    with pytest.raises(ConfigError, match=told):
        trunks.build(tiny("test_resnet", *pairs))


def test_random_numbers_that_would_stay_are_refused(tiny):
    weights.check(tiny("test_resnet"))
    for pairs in (("MODEL.TIMM.FREEZE_AT", 1), ("MODEL.TIMM.FREEZE_NORM", "True")):
        with pytest.raises(ConfigError, match="nothing has trained"):
            weights.check(tiny("test_resnet", *pairs))


def test_pixels_are_the_trunks_where_nothing_is_said(tiny):
    assert trunks.settled(tiny("vit_tiny_patch16_224.augreg_in21k")).MODEL.PIXEL_MEAN == (127.5,) * 3
    said = tiny("test_vit", "MODEL.PIXEL_STD", [2.0, 2.0, 2.0])
    assert trunks.settled(said) is said


@pytest.mark.parametrize("path", ["timm_mask_rcnn.yaml", "quick/timm_mask_rcnn.yaml"])
def test_name_and_weights_alone_choose_the_trunk_of_the_examples(path):
    name = ["MODEL.TIMM.NAME", "vit_tiny_patch16_224.augreg_in21k", "MODEL.WEIGHTS", ""]
    cfg = trunks.settled(config.load(config.config_path(path), defaults.TREE, name))
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.PIXEL_MEAN == cfg.MODEL.PIXEL_STD == (127.5,) * 3


def test_half_precision_is_for_resnexts(tiny):
    with pytest.raises(EngineError, match=r"PRECISION bfloat16 .* test_vit; set it to float32"):
        select_engine("embedded")(tiny("test_vit", "WSL_DET.INFERENCE.PRECISION", "bfloat16"))


def test_layer_decay_and_adamw(tiny):
    cfg = tiny("test_vit", "SOLVER.OPTIMIZER", "ADAMW", "SOLVER.LAYER_DECAY", 0.5, "SOLVER.BASE_LR", 0.01)
    model = select_engine("embedded")(cfg).build()
    made = solver.optimizer(cfg, model)
    assert isinstance(made, torch.optim.AdamW)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    assert rates.keys() == {id(p) for p in model.parameters() if p.requires_grad}
    own = dict(model.named_parameters())
    trunk = "backbone.bottom_up.model."
    assert rates[id(own["backbone.simfp_4.0.weight"])] == 0.01
    last, first = (rates[id(own[f"{trunk}blocks.{k}.mlp.fc1.weight"])] for k in (5, 0))
    assert (last, first) == (0.01, pytest.approx(0.01 * 0.5**5))
    plain = config.merge(defaults.TREE, {}, ["SOLVER.LAYER_DECAY", 0.5])
    with pytest.raises(ConfigError, match="only timm's trunks name their layers"):
        solver.optimizer(plain, torch.nn.Linear(2, 2))


def test_keys_that_came_later_do_not_end_an_older_run(tiny):
    plain = config.merge(defaults.TREE, {})
    assert not any(k.startswith(("MODEL.TIMM", "SOLVER.OPT")) for k in settings.fingerprint(plain, [], None))
    assert settings.fingerprint(tiny("test_vit"), [], None)["MODEL.TIMM.NAME"] == "test_vit"
