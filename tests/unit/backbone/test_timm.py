"""timm's models as trunks: names, what they declare, export, certificate, freezing; tiny ones of its own."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import wsl_det
from wsl_det.backbone import artifact, export, timm_models, timm_source, transfer
from wsl_det.backbone.norms import FrozenBatchNorm2d
from wsl_det.backbone.pyramids import SimplePyramid
from wsl_det.backbone.timm_trunk import TimmTrunk
from wsl_det.errors import CheckpointError, ConfigError, DataError, WslError
from wsl_det.zoo import published, resolve


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pretrained(tmp_path, name, **more):
    """A file of timm's model with batch norms that something has trained, and that model."""
    torch.manual_seed(7)
    model = timm.create_model(name, **more).eval()
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand_like(value) + 0.5)
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    return path, model


def made(tmp_path, path, name, **options):
    source, facts = resolve.source(str(path), expect=f"timm:{name}", **options)
    return export.export(source, tmp_path / "made.pth", facts)


def test_a_loaded_backbone_of_timms_is_the_model_behind_its_pixels(tmp_path):
    path, model = pretrained(tmp_path, "test_resnet")
    made(tmp_path, path, "test_resnet")
    backbone = wsl_det.load_backbone(tmp_path / "made.pth", freeze_at=1).eval()
    photos = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    meta = backbone.meta
    mean, std = (torch.tensor(meta[k]).view(1, 3, 1, 1) for k in ("pixel_mean", "pixel_std"))
    with torch.no_grad():
        features, whole = backbone(photos), model.forward_features((photos.float() - mean) / std)
    assert {k: v.shape[1] for k, v in features.items()} == backbone.channels
    torch.testing.assert_close(features["res5"], whole)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_an_artifact_fits_a_trunk_that_is_cut_before_its_last_map(tmp_path, name):
    path, model = pretrained(tmp_path, name)
    found, _ = made(tmp_path, path, name)
    trunk, meta = TimmTrunk(name, out_features=["res2", "res4"], frozen_norm=True).eval(), found.meta
    settings = {k: meta[k] for k in ("channel_order", "pixel_mean", "pixel_std")}
    transfer.into_timm(trunk, found, **settings, name=name, frozen_norm=True, freeze_at=0, prefix="")
    photos = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = model.forward_intermediates(photos, intermediates_only=True, output_fmt="NCHW", norm=False)
        torch.testing.assert_close(trunk(photos)["res4"], maps[trunk.declared.features["res4"]])
    assert not any(key.startswith(("layer4.", "stages.3.")) for key in trunk.model.state_dict())
    cut = replace(found, weights={k: v for k, v in found.weights.items() if "2." not in k})
    with pytest.raises(CheckpointError, match="missing"):
        transfer.into_timm(trunk, cut, **settings, name=name, frozen_norm=True, freeze_at=0, prefix="")


def test_norms_in_step_with_other_processes_are_not_promised_for_timms(tmp_path):
    path, _ = pretrained(tmp_path, "test_resnet")
    made(tmp_path, path, "test_resnet")
    with pytest.raises(CheckpointError, match="SyncBN is for ResNe"):
        wsl_det.load_backbone(tmp_path / "made.pth", norm="SyncBN")


@pytest.mark.parametrize(
    ("name", "strides", "divisor"),
    [
        ("test_resnet", [4, 8, 16, 32], 32),
        ("test_vit", [16], 16),
        ("test_maxvit", [4, 8, 16, 32], 160),
        ("vit_tiny_patch16_224.augreg_in21k", [16], 16),
        ("swin_tiny_patch4_window7_224", [4, 8, 16, 32], 32),
    ],
)
def test_a_model_declares_its_strides_and_what_its_inputs_are_divided_by(name, strides, divisor):
    known = timm_models.declared(name)
    assert (list(known.strides.values()), known.divisor) == (strides, divisor)
    assert set(known.features) == {f"res{int(s).bit_length() - 1}" for s in strides}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet_50", "no model 'resnet_50'; did you mean .*resnet50"),
        ("ig_resnext101_32x16d", "no model"),
        ("resnet50.never", "publishes no resnet50.never; of this model: resnet50"),
        ("mixer_b16_224", "does not follow its input.*224 pixels only"),
        ("test_coatnet", "does not follow its input"),
    ],
)
def test_what_is_no_trunk_is_refused_in_one_message(name, told):
    with pytest.raises(ConfigError, match=told):
        timm_models.declared(name)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_file_becomes_an_artifact_that_the_whole_classifier_certifies(tmp_path, name):
    path, model = pretrained(tmp_path, name)
    found, certified = made(tmp_path, path, name)
    assert certified["bn"] == ("statistics" if name in ("test_resnet", "test_efficientnet") else "none")
    assert certified["counts"]["missing"] == 0 and certified["counts"]["dropped"] > 0
    assert max(certified["parity"]["largest_relative_error"].values()) < 1e-5
    assert "logits" in certified["parity"]["largest_relative_error"]
    assert len(certified["parity"]["sizes"]) == 2
    own = model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in found.weights.items())
    again = artifact.read(tmp_path / "made.pth")
    assert again.arch.model == name and again.meta["timm"]["input_divisor"] == 32 // (
        2 if "vit" in name else 1
    )
    assert json.loads((tmp_path / "made.json").read_text())["config"]["MODEL.TIMM.NAME"] == name


def test_a_wrong_map_is_found_by_the_logits(tmp_path):
    path, _ = pretrained(tmp_path, "test_vit")
    source, _ = resolve.source(str(path), expect="timm:test_vit")
    source.weights["blocks.0.mlp.fc1.weight"] = source.weights["blocks.0.mlp.fc1.weight"] * 1.01
    with pytest.raises(CheckpointError, match=r"does not compute what timm's test_vit does.*logits"):
        export.export(source, tmp_path / "bad.pth")
    assert not (tmp_path / "bad.pth").exists() and not (tmp_path / "bad.json").exists()


def test_a_file_of_another_architecture_is_refused(tmp_path):
    path, _ = pretrained(tmp_path, "test_vit")
    with pytest.raises(CheckpointError, match="not timm's test_convnext: its tensors do not fit"):
        resolve.source(str(path), expect="timm:test_convnext")


def test_a_file_that_lacks_layers_is_refused_where_timm_fills_them_in_without_a_word(tmp_path):
    path, model = pretrained(tmp_path, "convnextv2_atto", num_classes=0)
    whole = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    assert not timm_source.read("convnextv2_atto.fcmae", path, whole).whole
    part = {k: v for k, v in whole.items() if not k.startswith("stages.2.blocks.1.")}
    with pytest.raises(CheckpointError, match=r"not the whole of .*: it lacks stages\.2\.blocks\.1\."):
        timm_source.read("convnextv2_atto.fcmae", path, part)


def test_norms_are_judged_under_timms_names_whatever_the_file_calls_them(tmp_path):
    model = torchvision.models.regnet_y_400mf()
    path = tmp_path / "regnet.pth"
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand_like(value) + 0.5)
    torch.save(model.state_dict(), path)
    source, _ = resolve.source(str(path), expect="timm:regnety_004")
    assert source.bn == "statistics"
    assert torch.equal(source.weights["stem.conv.weight"], model.stem[0].weight)


def test_an_artifact_is_no_source(tmp_path):
    source, facts = resolve.source("timm:test_resnet", untrained=True)
    export.export(source, tmp_path / "drawn.pth", facts)
    with pytest.raises(CheckpointError, match="is an artifact already"):
        resolve.source(str(tmp_path / "drawn.pth"), expect="timm:test_resnet")


def test_a_lack_of_memory_is_not_told_as_another_architecture(tmp_path, monkeypatch):
    path, _ = pretrained(tmp_path, "test_resnet")
    make = timm.create_model

    def full(*args, pretrained=False, **more):
        if pretrained:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return make(*args, **more)

    monkeypatch.setattr(timm, "create_model", full)
    with pytest.raises(WslError, match="memory that is left does not hold timm's test_resnet"):
        resolve.source(str(path), expect="timm:test_resnet")


def test_a_classifier_of_other_classes_or_none_is_no_obstacle(tmp_path):
    path, _ = pretrained(tmp_path, "test_resnet", num_classes=7)
    assert "file's" in made(tmp_path, path, "test_resnet")[1]["parity"]["logits"]
    headless, _ = pretrained(tmp_path, "test_resnet", num_classes=0)
    assert "holds none" in made(tmp_path, headless, "test_resnet")[1]["parity"]["logits"]


def test_untrained_is_drawn_from_its_seed_and_certified_as_initial(tmp_path):
    def drawn(seed):
        source, facts = resolve.source("timm:test_efficientnet", untrained=True, seed=seed)
        return export.export(source, tmp_path / f"{seed}.pth", facts)

    (a, certified), (b, _) = drawn(1), drawn(2)
    (again, _) = drawn(1)
    assert certified["bn"] == "initial" and certified["source"] == {"seed": 1}
    assert all(torch.equal(v, again.weights[k]) for k, v in a.weights.items())
    assert any(not torch.equal(v, b.weights[k]) for k, v in a.weights.items())
    with pytest.raises(ConfigError, match="give timm:NAME"):
        resolve.source("weights/x.pth", untrained=True)


def test_patches_of_14_pixels_are_to_be_resampled_to_16():
    known = timm_models.declared("vit_small_patch14_dinov2.lvd142m")
    assert (known.resampled, known.divisor, known.options["img_size"]) == (14, 16, [592, 592])


def test_frozen_norms_and_stages():
    trunk = TimmTrunk("test_resnet", frozen_norm=True, freeze_at=2)
    kinds = {type(m) for m in trunk.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {FrozenBatchNorm2d}
    learns = {k for k, p in trunk.model.named_parameters() if p.requires_grad}
    assert learns and all(k.startswith(("layer2", "layer3", "layer4")) for k in learns)
    assert trunk.state_dict().keys() == TimmTrunk("test_resnet").state_dict().keys()


def test_a_norm_with_an_activation_inside_keeps_it_and_its_statistics():
    trunk = TimmTrunk("test_efficientnet", frozen_norm=True).train()
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    trunk(torch.rand(2, 3, 64, 32))
    assert all(torch.equal(v, before[k]) for k, v in trunk.state_dict().items())
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training or m.weight.requires_grad for m in norms)
    learning = TimmTrunk("test_efficientnet").train()
    assert any(m.training for m in learning.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_layers_are_timms_groups_of_what_learns(name):
    trunk = TimmTrunk(name, freeze_at=1)
    groups = trunk.layer_groups(0.5, 0.1)
    learns = [p for p in trunk.parameters() if p.requires_grad]
    grouped = [p for _, _, params in groups for p in params]
    assert {id(p) for p in grouped} == {id(p) for p in learns} and len(grouped) == len(learns)
    assert max(scale for scale, _, _ in groups) == 1 and min(scale for scale, _, _ in groups) < 0.5
    assert all(decay == 0 for _, decay, params in groups for p in params if p.ndim == 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"out_features": ["res2"]}, "offers res4"),
        ({"name": "test_byobnet", "checkpointing": True, "out_features": ["res6"]}, "names res6"),
        ({"name": "resnet18", "out_features": ["p2"]}, "offers res2, res3, res4, res5"),
    ],
)
def test_options_that_a_model_does_not_take(options, told):
    name = options.pop("name", "test_vit")
    with pytest.raises(ConfigError, match=told):
        TimmTrunk(name, **options)


def test_the_simple_pyramid_has_vitdets_layers():
    pyramid = SimplePyramid(TimmTrunk("test_vit"), channels=8)
    kinds = {f"simfp_{s}": [type(m).__name__ for m in getattr(pyramid, f"simfp_{s}")] for s in (2, 3, 4, 5)}
    tail = ["NormedConv2d", "NormedConv2d"]
    assert kinds == {
        "simfp_2": ["ConvTranspose2d", "ChannelNorm", "GELU", "ConvTranspose2d", *tail],
        "simfp_3": ["ConvTranspose2d", *tail],
        "simfp_4": tail,
        "simfp_5": ["MaxPool2d", *tail],
    }
    assert pyramid.size_divisibility == 32
    found = pyramid(torch.rand(1, 3, 64, 96))
    assert [tuple(v.shape[1:]) for v in found.values()] == [
        *((8, 64 // s, 96 // s) for s in (4, 8, 16, 32)),
        (8, 1, 2),
    ]


def test_a_trunk_of_timms_is_no_resnext(tmp_path):
    path, _ = pretrained(tmp_path, "test_resnet")
    found, _ = made(tmp_path, path, "test_resnet")
    with pytest.raises(CheckpointError, match=r"ResNe\(X\)t under Detectron2's names"):
        _ = found.resnet
    with pytest.raises(CheckpointError, match="trunk of timm's, test_resnet; a ResNe"):
        resolve.source(str(found.path))


def test_the_hub_is_asked_for_settings_and_weights(tmp_path, monkeypatch):
    path, _ = pretrained(tmp_path, "test_vit", num_classes=3)
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda repository, file, **_: str(path.parent / file)
    )
    source, facts = resolve.source("hf-hub:someone/small")
    found, _ = export.export(source, tmp_path / "hub.pth", facts)
    assert found.meta["pixel_mean"] == [25.5, 51.0, 76.5]
    assert "hf-hub:someone/small" in (tmp_path / "weights" / "zoo.lock.json").read_text()


def hub(tmp_path, monkeypatch, **settings):
    """A repository of somebody's whose config.json says ``settings``."""
    path, _ = pretrained(tmp_path, "test_vit", num_classes=3)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vit", **settings}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, file, **__: str(path.parent / file))


def test_somebodys_copy_of_timms_settings_is_not_what_timm_publishes(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch, pretrained_cfg={"tag": "r160_in1k"})
    source, facts = resolve.source("hf-hub:someone/small")
    assert (source.arch.model, facts.licence, facts.training_data) == ("test_vit", None, None)
    own, told = resolve.source("hf-hub:timm/test_vit.r160_in1k")
    assert (own.arch.model, told.licence) == ("test_vit.r160_in1k", "apache-2.0")


def test_settings_that_change_the_layers_are_refused(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch, model_args={"act_layer": "relu", "num_classes": 3})
    with pytest.raises(DataError, match=r"test_vit with other layers \({'act_layer': 'relu'}\)"):
        resolve.source("hf-hub:someone/small")


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (
            "timm:test_vit.r160_in1k",
            {"convention": "msra"},
            "--convention: timm's test_vit.r160_in1k is read",
        ),
        ("timm:test_vit", {"untrained": True, "prefix": "x."}, "--prefix: timm's test_vit is read"),
        ("timm:test_vit.r160_in1k", {"expect": "timm:test_resnet"}, "timm:test_resnet is asked for"),
        ("model.safetensors", {"expect": "timm:test_vit", "bn_folded": True}, "--bn-folded: timm's test_vit"),
        ("hf-hub:someone/small", {"expect": "timm:test_resnet"}, "this is timm's test_vit"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(tmp_path, monkeypatch, text, options, told):
    hub(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=told):
        resolve.source(text, **options)


def test_a_licence_that_must_be_agreed_to_is_said_to_be_one(tmp_path, monkeypatch):
    from huggingface_hub.errors import GatedRepoError

    class Gated(GatedRepoError):
        def __init__(self):
            Exception.__init__(self, "gated")

    def refuse(*_, **__):
        raise Gated

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(published.DownloadError, match="licence that must be agreed to"):
        resolve.source("hf-hub:someone/gated")
    with pytest.raises(published.DownloadError, match="licence that must be agreed to"):
        resolve.source("timm:test_vit.r160_in1k")


def test_an_empty_name():
    with pytest.raises(ConfigError, match="names no model"):
        timm_source.named("timm:")
