"""Export, certificate, transfer; six failures that are silent elsewhere must be loud here."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wsl_det import errors
from wsl_det.backbone import arch as arches
from wsl_det.backbone import artifact, certificate, conventions, export, names, sources, transfer
from wsl_det.backbone.trunk import ResNet
from wsl_det.errors import CheckpointError, ConfigError

SMALL = {"blocks": (1, 2, 1, 1), "groups": 2, "width_per_group": 4, "res2_channels": 32}
RGB = {
    "channel_order": "RGB",
    "pixel_mean": (123.675, 116.28, 103.53),
    "pixel_std": (58.395, 57.12, 57.375),
    "stride_in_1x1": False,
    "norm": "FrozenBN",
    "freeze_at": 2,
}


class Detector(nn.Module):
    """A model that has a trunk where Detectron2's has it, and something beside it."""

    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = ResNet(**{**SMALL, **kwargs})
        self.head = nn.Linear(2, 2)

    @property
    def trunk(self) -> ResNet:
        return self.backbone.bottom_up


@pytest.fixture
def exported(small_pth: Path) -> artifact.Artifact:
    made, _ = export.export(sources.read(small_pth), small_pth.with_name("backbone.pth"))
    return made


def rewrite(path: Path, change) -> Path:
    """Change an artifact's payload behind the back of its certificate, which is removed."""
    payload = torch.load(path, weights_only=True)
    change(payload)
    torch.save(payload, path)
    artifact.certificate_path(path).unlink(missing_ok=True)
    return path


# --- what an export is -------------------------------------------------------------------------


def test_the_artifact_is_what_the_contract_says(exported, timm_resnext):
    payload = torch.load(exported.path, weights_only=True)
    assert list(payload) == ["model", "matching_heuristics", "meta"]
    assert payload["matching_heuristics"] is True
    expected = {
        names.to_detectron2(k): v
        for k, v in timm_resnext.state_dict().items()
        if not k.startswith("fc.") and "num_batches" not in k
    }
    assert payload["model"].keys() == expected.keys()
    assert all(torch.equal(payload["model"][k], v) for k, v in expected.items())
    meta = payload["meta"]
    assert (meta["channel_order"], meta["stride_in_1x1"], meta["bn"]) == ("RGB", False, "statistics")
    assert meta["pixel_mean"] == [0.485 * 255, 0.456 * 255, 0.406 * 255] == [123.675, 116.28, 103.53]
    assert meta["pixel_std"] == pytest.approx([0.229 * 255, 0.224 * 255, 0.225 * 255], rel=1e-15)
    assert meta["arch"] == {"depth": None, "block": "bottleneck", "stem_channels": 64} | {
        k: list(v) if isinstance(v, tuple) else v for k, v in SMALL.items()
    }


def test_the_certificate_accounts_for_every_key(exported, small_pth, timm_resnext):
    value = json.loads(artifact.certificate_path(exported.path).read_text())
    assert [k["key"] for k in value["keys"]] == list(timm_resnext.state_dict())
    dropped = {k["key"] for k in value["keys"] if k["fate"] == "dropped"}
    assert dropped == {k for k in timm_resnext.state_dict() if k.startswith("fc.") or "num_batches" in k}
    assert all("reason" in k for k in value["keys"] if k["fate"] == "dropped")
    assert {k["became"] for k in value["keys"] if k["fate"] == "used"} == set(exported.weights)
    assert value["counts"] == {"used": 100, "dropped": 22, "missing": 0, "filled": 0, "tensors": 100}
    assert value["artifact"]["sha256"] == exported.sha256
    assert value["source"]["bytes"] == small_pth.stat().st_size
    errors_by_stage = value["parity"]["largest_relative_error"]
    assert list(errors_by_stage) == ["res2", "res3", "res4", "res5"]
    # Another order of float32 operations in the normalisation, through a dozen layers.
    assert 0 <= max(errors_by_stage.values()) < 1e-5
    assert value["parity"]["reference"].startswith("timm ")
    assert value["licence"] == {"name": "unknown", "url": None}
    assert value["provenance"]["fine_tuned_on_in1k"] == "unknown"


def test_facts_of_the_command_line_reach_both_files(small_pth, tmp_path):
    facts = export.Facts("CC BY-NC 4.0", "https://example.org", "940M photos", "yes")
    made, certified = export.export(sources.read(small_pth), tmp_path / "b.pth", facts)
    assert (
        made.meta["licence"] == certified["licence"] == {"name": "CC BY-NC 4.0", "url": "https://example.org"}
    )
    assert certified["provenance"]["fine_tuned_on_in1k"] == "yes"
    assert "940M photos" in export.describe(made, certified)


def test_a_run_of_ours_is_exported_with_its_own_statistics(tmp_path, timm_resnext):
    header = {
        "kind": "pretraining",
        "arch": {"depth": None, "stem_channels": 64, **SMALL, "blocks": [1, 2, 1, 1]},
        "pixel_mean": [100.0, 110.0, 120.0],
        "pixel_std": [50.0, 51.0, 52.0],
        "channel_order": "RGB",
        "stride_in_1x1": False,
        "vocabulary": "ab" * 32,
        "dataset": "train-demo-10-2",
    }
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"model": timm_resnext.state_dict(), "wsl_det": header}, run / "model_final.pth")
    made, certified = export.export(sources.read(run), tmp_path / "b.pth")
    assert made.meta["pixel_mean"] == [100.0, 110.0, 120.0]
    assert made.meta["provenance"]["dataset"] == "train-demo-10-2"
    assert made.meta["provenance"]["fine_tuned_on_in1k"] == "no"
    assert max(certified["parity"]["largest_relative_error"].values()) < 1e-5


@pytest.mark.parametrize("wrap", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder."])
def test_wrappers_and_prefixes_are_found(tmp_path, timm_resnext, wrap, prefix):
    state = {prefix + k: v for k, v in timm_resnext.state_dict().items()}
    path = tmp_path / "x.pth"
    torch.save({wrap: state, "optimizer": {"lr": 0.1}, "epoch": 3} if wrap else state, path)
    source = sources.read(path)
    assert (source.wrapper, source.prefix) == (wrap or "", prefix)
    assert torch.equal(source.weights["stem.conv1.weight"], timm_resnext.conv1.weight)
    if wrap:
        assert {f.key for f in source.fates if "not in" in (f.reason or "")} == {"optimizer", "epoch"}


def test_two_trunks_in_a_file_must_be_chosen(tmp_path, timm_resnext):
    state = timm_resnext.state_dict()
    ema = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path / "x.pth"
    torch.save({"state_dict": state, "state_dict_ema": ema}, path)
    with pytest.raises(CheckpointError, match="--wrapper state_dict_ema"):
        sources.read(path)
    chosen = sources.read(path, wrapper="state_dict_ema").weights["stem.conv1.weight"]
    assert torch.equal(chosen, ema["conv1.weight"])


def test_safetensors_and_pth_give_the_same_artifact(tmp_path, small_pth, timm_resnext):
    from safetensors.torch import save_file

    path = tmp_path / "small.safetensors"
    save_file({k: v.contiguous() for k, v in timm_resnext.state_dict().items()}, path)
    ours, theirs = sources.read(path), sources.read(small_pth)
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[k], theirs.weights[k]) for k in ours.weights)


def test_keys_that_nobody_knows_stop_the_export(tmp_path, timm_resnext):
    path = tmp_path / "x.pth"
    torch.save({**timm_resnext.state_dict(), "layer1.0.se.fc1.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"layer1\.0\.se\.fc1\.weight"):
        sources.read(path)


def caffe2(state, *, statistics: bool) -> dict[str, np.ndarray]:
    """A torchvision state dict under Caffe2's names."""
    branch = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "bn1": "2a_bn", "bn2": "2b_bn", "bn3": "2c_bn"}
    leaf = {"running_mean": "rm", "running_var": "riv"}
    out = {}
    for key, value in state.items():
        *where, last = key.split(".")
        if last == "num_batches_tracked" or (last in leaf and not statistics):
            continue
        norm = "bn" in where[-1] or where[-2:] == ["downsample", "1"]
        end = leaf.get(last) or {"weight": "s" if norm else "w", "bias": "b"}[last]
        if where[0] == "fc":
            name = f"pred_{end}"
        elif len(where) == 1:
            name = f"res_conv1_bn_{end}" if norm else f"conv1_{end}"
        else:
            part = ("1_bn" if norm else "1") if where[2] == "downsample" else branch[where[2]]
            name = f"res{int(where[0][5:]) + 1}_{where[1]}_branch{part}_{end}"
        out[name] = value.numpy()
    return out


def test_caffe2_pickles_carry_fairs_convention(tmp_path, torchvision_resnext):
    path = tmp_path / "X.pkl"
    blobs = caffe2(torchvision_resnext.state_dict(), statistics=True)
    path.write_bytes(pickle.dumps({"blobs": {**blobs, "conv1_w_momentum": blobs["conv1_w"], "lr": 0.1}}, 2))
    source = sources.read(path)
    assert source.convention == conventions.FAIR
    made, certified = export.export(source, tmp_path / "b.pth")
    assert made.meta["channel_order"] == "BGR"
    assert made.meta["pixel_std"] == [57.375, 57.12, 58.395]
    assert certified["parity"]["reference"].startswith("torchvision ")


def test_caffe2_pickles_without_statistics_need_the_declaration(tmp_path, torchvision_resnext):
    path = tmp_path / "X.pkl"
    state = torchvision_resnext.state_dict()
    path.write_bytes(pickle.dumps(caffe2(state, statistics=False), 2))
    with pytest.raises(CheckpointError, match="--bn-folded"):
        sources.read(path)
    source = sources.read(path, bn_folded=True)
    _, certified = export.export(source, tmp_path / "b.pth")
    assert (certified["bn"], certified["counts"]["filled"]) == ("folded", 40)
    assert certified["config"]["MODEL.RESNETS.NORM"] == "FrozenBN"


def test_detectron2_pickles_of_torchvision_weights_say_so_themselves(tmp_path, timm_resnext):
    state = {names.to_detectron2(k): v.numpy() for k, v in timm_resnext.state_dict().items() if "fc" not in k}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"model": state, "__author__": "torchvision", "matching_heuristics": True}))
    assert sources.read(path).convention == conventions.TORCHVISION
    path.write_bytes(pickle.dumps({"model": state, "__author__": "somebody"}))
    with pytest.raises(CheckpointError, match="--convention"):
        sources.read(path)
    source = sources.read(path, convention="msra")
    made, certified = export.export(source, tmp_path / "b.pth")
    assert made.meta["stride_in_1x1"] is True
    assert "strides moved" in certified["parity"]["reference"]


def test_a_detectors_trunk_can_be_taken_out(tmp_path, exported):
    detector = {f"backbone.bottom_up.{k}": v for k, v in exported.weights.items()}
    detector |= {"backbone.fpn_lateral2.weight": torch.ones(1), "roi_heads.box_head.fc1.bias": torch.ones(1)}
    path = tmp_path / "detector.pth"
    torch.save({"model": detector, "iteration": 9}, path)
    source = sources.read(path, convention="torchvision")
    assert all(torch.equal(source.weights[k], v) for k, v in exported.weights.items())


def test_an_artifact_can_be_exported_again(exported, tmp_path):
    again, _ = export.export(sources.read(exported.path), tmp_path / "again.pth")
    assert {k: again.meta[k] for k in ("arch", "pixel_mean", "bn")} == {
        k: exported.meta[k] for k in ("arch", "pixel_mean", "bn")
    }


def test_nothing_is_left_behind_when_the_export_fails(tmp_path, exported, monkeypatch):
    before = {p.name: p.read_bytes() for p in exported.path.parent.iterdir()}
    monkeypatch.setattr(certificate, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="nothing was written"):
        export.export(sources.read(exported.path), exported.path)
    assert {p.name: p.read_bytes() for p in exported.path.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["b.pkl", "b", "folder.pth"])
def test_outputs_that_detectron2_would_misread_are_refused(tmp_path, small_pth, name):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ConfigError, match=r"\.pth"):
        export.export(sources.read(small_pth), tmp_path / name)


@pytest.mark.parametrize("to", [None, "timm", "detectron2", "safetensors"])
def test_a_place_that_cannot_be_written_ends_in_a_message(small_pth, tmp_path, capsys, to):
    (tmp_path / "file").write_text("no folder")
    suffix = {None: ".pth", "timm": ".pth", "detectron2": ".pkl", "safetensors": ".safetensors"}[to]
    for place in ("/proc", str(tmp_path / "file")):
        words = [str(small_pth), f"{place}/b{suffix}", *(["--to", to] if to else [])]
        assert errors.run(tool("export_backbone"), words) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_a_full_disk_ends_in_a_message(small_pth, tmp_path, monkeypatch):
    def fill(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:1] . unexpected pos 64 vs 0")

    source = sources.read(small_pth)
    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(CheckpointError, match="room on the disk"):
        export.export(source, tmp_path / "b.pth")
    assert {p.name for p in tmp_path.iterdir()} == {"small.pth"}


# --- into a detector ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_every_trunk_tensor_is_set(exported, norm):
    model = Detector(norm=norm)
    head = model.head.weight.clone()
    ancestry = transfer.into(model, artifact.read(exported.path), **{**RGB, "norm": norm})
    state = model.trunk.state_dict()
    assert all(torch.equal(state[k], v) for k, v in exported.weights.items())
    assert not any(torch.isnan(v).any() for v in state.values())
    assert torch.equal(model.head.weight, head)
    assert ancestry["sha256"] == exported.sha256
    assert ancestry["provenance"]["source"] == "small.pth"


def disagreement(made, *, model=None, **changes) -> str:
    model = model or Detector()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        transfer.into(model, made, **{**RGB, **changes})
    after = model.state_dict()
    assert all(torch.equal(after[k].nan_to_num(), v.nan_to_num()) for k, v in before.items())
    return str(caught.value)


def test_silent_failure_1_a_wrong_width(exported, small_pth):
    assert "WIDTH_PER_GROUP is 8" in disagreement(exported, model=Detector(width_per_group=8))
    assert "NUM_GROUPS is 4" in disagreement(exported, model=Detector(groups=4, width_per_group=2))
    other_depth = disagreement(exported, model=Detector(blocks=(1, 1, 1, 1)))
    assert "the model is a ResNeXt-14" in other_depth and "blocks (1, 2, 1, 1)" in other_depth
    with pytest.raises(CheckpointError, match="resnext101_32x8d"):
        sources.read(small_pth, expect="resnext101_32x8d")


def test_silent_failure_2_lost_statistics(tmp_path, timm_resnext, exported):
    state = timm_resnext.state_dict()
    path = tmp_path / "x.pth"
    torch.save({k: v for k, v in state.items() if "running" not in k}, path)
    with pytest.raises(CheckpointError, match="20 batch norms have no running statistics"):
        sources.read(path)
    torch.save({k: v for k, v in state.items() if k != "layer2.1.bn2.running_var"}, path)
    with pytest.raises(CheckpointError, match=r"res3\.1\.conv2\.norm"):
        sources.read(path)
    half = {k: fresh(k, v) if k.startswith("layer3") else v for k, v in state.items()}
    torch.save(half, path)
    with pytest.raises(CheckpointError, match="4 of 20 batch norms have mean 0 and variance 1"):
        sources.read(path)
    with pytest.raises(CheckpointError, match="missing"):
        artifact.read(rewrite(exported.path, lambda p: p["model"].pop("res5.0.conv3.norm.running_mean")))


def fresh(key: str, value: torch.Tensor) -> torch.Tensor:
    if key.endswith("running_mean"):
        return torch.zeros_like(value)
    return torch.ones_like(value) if key.endswith("running_var") else value


def test_folded_statistics_are_certified_and_only_frozen(tmp_path, timm_resnext):
    path = tmp_path / "x.pth"
    # The counter says "trained for long"; it is never asked.
    state = {k: fresh(k, v) for k, v in timm_resnext.state_dict().items()}
    torch.save({k: v + 1000 if "num_batches" in k else v for k, v in state.items()}, path)
    made, certified = export.export(sources.read(path), tmp_path / "b.pth")
    assert certified["bn"] == made.meta["bn"] == "folded"
    assert "folded" in disagreement(made, model=Detector(norm="BN"), norm="BN")
    transfer.into(Detector(), made, **RGB)
    transfer.into(Detector(norm="BN"), made, **{**RGB, "norm": "BN", "freeze_at": 5})


def test_negative_variance_is_damage(tmp_path, timm_resnext):
    path = tmp_path / "x.pth"
    torch.save({**timm_resnext.state_dict(), "bn1.running_var": torch.full((64,), -1.0)}, path)
    with pytest.raises(CheckpointError, match="negative variance"):
        sources.read(path)


def test_silent_failure_3_a_wrong_prefix(exported, small_pth):
    with pytest.raises(CheckpointError, match="not a backbone artifact"):
        artifact.read(small_pth)
    path = rewrite(
        exported.path, lambda p: p.update(model={f"backbone.{k}": v for k, v in p["model"].items()})
    )
    with pytest.raises(CheckpointError, match="does not hold a ResNe"):
        artifact.read(path)
    lone = nn.Module()
    lone.body = ResNet(**SMALL)
    assert "no trunk under this prefix" in disagreement(exported, model=lone)


def test_silent_failure_4_swapped_channels(exported, small_pth):
    found = disagreement(
        exported, channel_order="BGR", pixel_mean=(103.53, 116.28, 123.675), pixel_std=(1, 1, 1)
    )
    assert all(key in found for key in ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"))
    assert "INPUT.FORMAT" in disagreement(exported, channel_order="BGR")
    scale = tuple(v / 255 for v in RGB["pixel_mean"])
    assert "MODEL.PIXEL_MEAN" in disagreement(exported, pixel_mean=scale)
    refuted(exported, small_pth, channel_order="BGR")
    refuted(exported, small_pth, pixel_mean=exported.meta["pixel_mean"][::-1])
    refuted(exported, small_pth, pixel_std=[v / 255 for v in exported.meta["pixel_std"]])


def test_silent_failure_5_a_misplaced_stride(exported, small_pth):
    assert "STRIDE_IN_1X1" in disagreement(exported, stride_in_1x1=True)
    refuted(exported, small_pth, stride_in_1x1=True)


def refuted(made: artifact.Artifact, source: Path, **meta) -> None:
    """The proof finds out an artifact whose ``meta`` lies."""
    liar = artifact.Artifact(made.path, made.sha256, made.weights, {**made.meta, **meta}, made.arch)
    with pytest.raises(CheckpointError, match="does not compute"):
        certificate.prove(sources.read(source), liar)


def test_the_proof_finds_one_changed_tensor(exported, small_pth):
    weights = {**exported.weights, "res4.0.conv2.weight": exported.weights["res4.0.conv2.weight"].flip(-1)}
    liar = artifact.Artifact(exported.path, exported.sha256, weights, exported.meta, exported.arch)
    with pytest.raises(CheckpointError, match=r"res3 \d\.\de-0\d, res4 0\.\d"):
        certificate.prove(sources.read(small_pth), liar)


def test_silent_failure_6_timms_aliases():
    import timm

    with torch.device("meta"), pytest.warns(UserWarning, match="ig_resnext101_32x16d"):
        model = timm.create_model("ig_resnext101_32x16d")
    keys = {k: v for k, v in model.state_dict().items() if not k.startswith("fc") and "num_batches" not in k}
    arch = arches.infer({names.to_detectron2(k): tuple(v.shape) for k, v in keys.items()}, "alias")
    assert arch.name == "ResNeXt-101 32x8d"  # timm's mistake
    with pytest.raises(CheckpointError, match="promises another architecture"):
        arches.check_claim(arch, "ig_resnext101_32x16d", "alias")
    arches.check_claim(arch, "ig_resnext101_32x8d", "alias")


@pytest.mark.parametrize(
    "claim",
    [
        "ig_resnext101_32x16-c6f796b0",
        "resnext101_32x32d_wsl",
        "resnet50-19c8e357",
        "X-152-32x8d-IN5k",
        "R-101",
    ],
)
def test_a_file_name_that_promises_something_else_is_refused(claim):
    arch = arches.Architecture(blocks=(3, 4, 23, 3), groups=32, width_per_group=8)
    with pytest.raises(CheckpointError, match="promises"):
        arches.check_claim(arch, claim, "file")


@pytest.mark.parametrize(
    "claim",
    [
        "ig_resnext101_32x8-c38310e5",
        "X-101-32x8d",
        "resnext101",
        "model_final",
        "backbone",
        "X_101",
        "wide_resnet50_2",
    ],
)
def test_names_that_fit_or_say_nothing_pass(claim):
    arch = arches.Architecture(blocks=(3, 4, 23, 3), groups=32, width_per_group=8)
    arches.check_claim(arch, claim, "file")


def test_group_norm_cannot_take_batch_norm(exported):
    model = Detector(res2_channels=32, groups=32, width_per_group=1, norm="GN")
    assert "NORM is 'GN'" in disagreement(exported, model=model, norm="GN")


def test_weights_changed_after_their_export_are_refused(exported):
    kept = artifact.certificate_path(exported.path).read_bytes()
    rewrite(exported.path, lambda p: p["model"]["stem.conv1.weight"].mul_(2))
    artifact.certificate_path(exported.path).write_bytes(kept)
    with pytest.raises(CheckpointError, match="certifies another file"):
        artifact.read(exported.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["meta"].update(schema=99), "schema 99"),
        (lambda p: p["meta"].pop("pixel_std"), "pixel_std"),
        (lambda p: p.update(matching_heuristics=False), "schema"),
        (lambda p: p["meta"].update(bn="folded"), "bn: folded"),
        (lambda p: p["meta"]["arch"].update(groups=1), "its tensors are"),
        (lambda p: p["meta"].update(arch="resnet"), "cannot be read"),
        (lambda p: p["model"]["stem.conv1.weight"].fill_(torch.nan), "NaN"),
    ],
)
def test_artifacts_that_contradict_themselves_are_refused(exported, change, message):
    with pytest.raises(CheckpointError, match=message):
        artifact.read(rewrite(exported.path, change))


# --- the tool ------------------------------------------------------------------------------------


def tool(name: str):
    path = Path(__file__).parents[3] / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_the_tool_prints_the_config_keys(small_pth, tmp_path, capsys):
    out = tmp_path / "o" / "b.pth"
    assert errors.run(tool("export_backbone"), [str(small_pth), str(out)]) == 0
    printed = capsys.readouterr().out
    assert out.is_file() and out.with_suffix(".json").is_file()
    for line in (
        f"MODEL.WEIGHTS {out}",
        "INPUT.FORMAT RGB",
        'MODEL.PIXEL_MEAN "[123.675, 116.28, 103.53]"',
        'MODEL.PIXEL_STD "[58.395, 57.12, 57.375]"',
        "MODEL.RESNETS.STRIDE_IN_1X1 False",
        "MODEL.RESNETS.NUM_GROUPS 2",
        "MODEL.RESNETS.WIDTH_PER_GROUP 4",
    ):
        assert line in printed


@pytest.mark.parametrize("source", ["absent.pth", "notes.txt", "."])
def test_the_tool_ends_with_one_message_and_writes_nothing(tmp_path, capsys, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert errors.run(tool("export_backbone"), [source, "out/b.pth"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    assert not (tmp_path / "out").exists()


# --- quantised models ------------------------------------------------------------------------------


def quantised(model: nn.Module, block: int = 2) -> dict:
    """A product-quantised copy of ``model`` that loses nothing: every block is its own centroid."""
    layers: dict = {}
    for key, value in model.state_dict().items():
        name, leaf = key.rsplit(".", 1)
        if "running" in leaf or "num_batches" in leaf:
            continue
        if key == "fc.bias":
            layers["fc_bias"] = {"bias": value}
        elif leaf == "weight" and value.ndim > 1 and name != "conv1":
            blocks = (
                value.flatten(1).unflatten(1, (-1, block)).transpose(0, 1).flatten(0, 1)
            )  # block by block
            centroids, assignments = torch.unique(blocks, dim=0, return_inverse=True)
            layers[name] = {"centroids": centroids, "assignments": assignments.int(), "k": value.shape[-1]}
            layers[name] |= {"n_blocks": len(blocks) // len(value), "is_conv": value.ndim == 4}
            if value.ndim == 2:
                layers[name]["k"] = 1
        else:
            layers.setdefault(name, {})[leaf] = value
    return layers


def test_a_quantised_model_decodes_to_the_weights_it_was_made_of(tmp_path, timm_resnext, capsys):
    torch.save(quantised(timm_resnext), tmp_path / "q.pth")
    arguments = [str(tmp_path / "q.pth"), str(tmp_path / "d.pth")]
    assert errors.run(tool("decode_quantised"), arguments) == 0
    decoded = torch.load(tmp_path / "d.pth", weights_only=True)
    for key, value in timm_resnext.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(decoded[key], fresh(key, value)), key
    assert sources.read(tmp_path / "d.pth").bn == "folded"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q["layer1.0.conv1"]["assignments"].fill_(10**6), "outside"),
        (lambda q: q["layer1.0.conv1"].update(n_blocks=7), "rows"),
        (lambda q: q["layer1.0.conv2"].pop("assignments"), "whole code"),
        (lambda q: q.pop("layer2.0.conv1"), "differences"),
        (lambda q: q.update(conv1=torch.ones(1)), "not a quantised model"),
        (lambda q: q["layer1.0.conv1"].update(k=float("inf")), "whole code"),
        (
            lambda q: q["layer1.0.conv1"].update(assignments=torch.zeros(1, dtype=int).expand(10**12)),
            "strides",
        ),
        (lambda q: q["layer1.0.conv1"].update(centroids=torch.zeros(1, 1).expand(9, 10**12)), "storage of"),
        (lambda q: q["layer1.0.conv1"].update(centroids=3), "expected a tensor"),
        (lambda q: q.update(fc_bias={}), "no bias"),
    ],
)
def test_damaged_codes_are_refused(tmp_path, timm_resnext, capsys, change, message):
    layers = quantised(timm_resnext)
    change(layers)
    torch.save(layers, tmp_path / "q.pth")
    assert errors.run(tool("decode_quantised"), [str(tmp_path / "q.pth"), str(tmp_path / "d.pth")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "d.pth").exists()
