"""To torchvision, timm, Detectron2 and safetensors, and back: equal bit for bit, with certificates."""

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
from wsl_det.backbone import artifact, certificate, convert, export, formats, names, pickles, sources
from wsl_det.errors import CheckpointError, ConfigError

FORMATS = list(formats.KNOWN)


def state_file(path: Path, model: nn.Module) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def exported(small_pth: Path, tmp_path: Path) -> artifact.Artifact:
    facts = export.Facts("CC BY-NC 4.0", "https://example.org", "940M photos", "yes")
    made, _ = export.export(sources.read(small_pth), tmp_path / "backbone.pth", facts)
    return made


def to(form: str, source: Path, folder: Path, **options) -> tuple[artifact.Artifact, dict]:
    output = folder / f"converted_{form}{formats.KNOWN[form].suffix}"
    return convert.convert(sources.read(source, **options), output, form)


@pytest.mark.parametrize("form", [f for f in FORMATS if f != "torchvision"])
def test_there_and_back_is_equal_bit_for_bit(exported, tmp_path, form):
    made, _ = to(form, exported.path, tmp_path)
    back, certified = export.export(sources.read(made.path), tmp_path / "back.pth")
    assert back.weights.keys() == exported.weights.keys()
    assert all(torch.equal(back.weights[k], v) for k, v in exported.weights.items())
    told = ("arch", "channel_order", "pixel_mean", "pixel_std", "stride_in_1x1", "bn", "licence")
    assert {k: back.meta[k] for k in told} == {k: exported.meta[k] for k in told}
    provenance = certified["provenance"]
    assert (provenance["original"], provenance["source"]) == ("small.pth", made.path.name)
    assert (provenance["training_data"], provenance["fine_tuned_on_in1k"]) == ("940M photos", "yes")


def test_torchvision_there_and_back(torchvision_resnext, torchvision_basic, tmp_path):
    for number, model in enumerate((torchvision_resnext, torchvision_basic)):
        made, certified = to("torchvision", state_file(tmp_path / f"m{number}.pth", model), tmp_path)
        back = sources.read(made.path)
        for key, value in model.state_dict().items():
            if not key.startswith("fc.") and "num_batches" not in key:
                assert torch.equal(back.weights[names.to_detectron2(key)], value)
        assert certified["library"] == "torchvision"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_certificate(torchvision_resnext, tmp_path, form):
    source = state_file(tmp_path / "source.pth", torchvision_resnext)
    made, certified = to(form, source, tmp_path)
    assert json.loads(artifact.certificate_path(made.path).read_text()) == certified
    assert (certified["format"], certified["counts"]["missing"]) == (form, 0)
    assert certified["artifact"] == {
        "path": str(made.path),
        "bytes": made.path.stat().st_size,
        "sha256": made.sha256,
    }
    assert certified["source"]["sha256"] == sources.read(source).sha256
    assert {k["key"] for k in certified["keys"]} == set(torchvision_resnext.state_dict())
    inside = read_anyhow(made.path)
    assert {k["became"] for k in certified["keys"] if k["fate"] == "used"} == set(inside)
    assert max(certified["parity"]["largest_relative_error"].values()) < 1e-5


def read_anyhow(path: Path) -> dict:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".pkl":
        return pickle.loads(path.read_bytes())["model"]
    return torch.load(path, weights_only=True)


@torch.no_grad()
@pytest.mark.parametrize("form", ["torchvision", "timm", "safetensors"])
def test_the_printed_lines_load_the_file_where_it_belongs(torchvision_resnext, tmp_path, form):
    """What the tool prints is run as it stands; the features are those of the model at the beginning."""
    import safetensors.torch

    made, certified = to(form, state_file(tmp_path / "source.pth", torchvision_resnext), tmp_path)
    lines = [x.strip() for x in convert.usage(made, certified).splitlines()[1:]]
    scope = {"torch": torch, "safetensors": safetensors}
    exec("\n".join(lines), scope)
    images = torch.randn(1, 3, 65, 96, generator=torch.Generator().manual_seed(0))
    # A head of its own: what torchvision's model gives before its fc.
    body = nn.Sequential(*list(torchvision_resnext.children())[:-1])
    found = scope["model"].eval()(images)
    torch.testing.assert_close(found, body(images).flatten(1), rtol=0, atol=1e-6 * float(found.abs().max()))


def test_timm_takes_the_safetensors_by_its_own_loader(tmp_path):
    import timm

    model = timm.create_model("resnet18", num_classes=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh statistics would pass for folded ones
            module.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    made, _ = to("safetensors", state_file(tmp_path / "resnet18.pth", model), tmp_path)
    loaded = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(made.path))
    assert all(
        torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items() if "num" not in k
    )


def pickled(path: Path, model: nn.Module) -> Path:
    """The weights in Detectron2's names, saying nothing about pixels and stride."""
    state = {
        names.to_detectron2(k): v.numpy() for k, v in model.state_dict().items() if not k.startswith("fc.")
    }
    path.write_bytes(pickle.dumps({"model": state, "__author__": "somebody"}))
    return path


def test_fairs_bgr_becomes_rgb_by_exchanging_the_stems_channels(torchvision_resnext, tmp_path):
    source = pickled(tmp_path / "x.pkl", torchvision_resnext)
    made, certified = to("torchvision", source, tmp_path, convention="fair")
    stem = torchvision_resnext.conv1.weight
    assert torch.equal(torch.load(made.path, weights_only=True)["conv1.weight"], stem.flip(1))
    assert certified["input_channels_flipped"] is True
    # FAIR's BGR numbers are torchvision's RGB numbers; the proof ran through both preprocessings.
    assert made.meta["pixel_std"] == [58.395, 57.12, 57.375]
    assert sources.read(made.path).convention.channel_order == "RGB"
    kept, _ = to("detectron2", source, tmp_path, convention="fair")
    assert kept.meta["channel_order"] == "BGR" and torch.equal(kept.weights["stem.conv1.weight"], stem)


@pytest.mark.parametrize("form", ["torchvision", "timm", "safetensors"])
def test_msras_stride_has_no_place_in_the_other_libraries(torchvision_resnext, tmp_path, form):
    source = pickled(tmp_path / "x.pkl", torchvision_resnext)
    with pytest.raises(CheckpointError, match=r"stride in its 1x1.*--to detectron2"):
        to(form, source, tmp_path, convention="msra")
    made, _ = to("detectron2", source, tmp_path, convention="msra")
    assert sources.read(made.path).convention.stride_in_1x1 is True


@pytest.mark.parametrize("form", FORMATS)
def test_a_runs_own_pixel_statistics_survive(torchvision_resnext, tmp_path, form):
    about = {
        "arch": {"depth": None, "block": "bottleneck", "blocks": [1, 2, 1, 1], "groups": 4}
        | {"width_per_group": 8, "stem_channels": 64, "res2_channels": 256},
        "pixel_mean": [100.0, 110.0, 120.0],
        "pixel_std": [50.0, 51.0, 52.0],
        "channel_order": "RGB",
        "stride_in_1x1": False,
    }
    source = tmp_path / "run.pth"
    torch.save({"model": torchvision_resnext.state_dict(), "wsl_det": about}, source)
    made, certified = to(form, source, tmp_path)
    back = sources.read(made.path)
    assert back.convention.to_meta()["pixel_mean"] == [100.0, 110.0, 120.0]
    if form != "detectron2":
        assert "mean [0.392157, 0.431373, 0.470588]" in convert.usage(made, certified)


def test_detectron2s_pickle_names_nothing_that_an_old_numpy_lacks(exported, tmp_path):
    made, _ = to("detectron2", exported.path, tmp_path)
    raw = made.path.read_bytes()
    assert b"numpy.core.multiarray" in raw and b"numpy._core" not in raw
    payload = pickle.loads(raw, encoding="latin1")  # as Detectron2 reads it
    assert payload["matching_heuristics"] is True and payload["__author__"] == "wsl_det"
    ours = pickles.read(made.path)["model"]
    for key, value in exported.weights.items():
        assert payload["model"][key].dtype == np.float32
        np.testing.assert_array_equal(payload["model"][key], value.numpy())
        np.testing.assert_array_equal(ours[key], value.numpy())
    assert artifact.from_payload(pickles.read(made.path), made.path).sha256 == made.sha256


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_changed_after_its_certificate_is_refused(torchvision_resnext, tmp_path, form):
    made, _ = to(form, state_file(tmp_path / "source.pth", torchvision_resnext), tmp_path)
    raw = bytearray(made.path.read_bytes())
    at = raw.index(made.weights["res5.0.conv3.weight"].numpy().tobytes()[:64])
    raw[at] ^= 1
    made.path.write_bytes(raw)
    if form in ("torchvision", "timm"):  # without a certificate they say nothing of themselves
        with pytest.raises(CheckpointError, match="certifies another file"):
            sources.read(made.path)
    else:
        with pytest.raises(CheckpointError, match="certifies another file"):
            artifact.read_certificate(made.path, sources.read(made.path).sha256)


@pytest.mark.parametrize("name", ["x.pth", "x", "folder.pkl"])
def test_a_suffix_that_readers_would_misunderstand_is_refused(exported, tmp_path, name):
    (tmp_path / "folder.pkl").mkdir()
    with pytest.raises(ConfigError, match=r"writes a \.pkl file"):
        convert.convert(sources.read(exported.path), tmp_path / name, "detectron2")


def test_torchvision_has_no_such_width(exported, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="use --to timm"):
        to("torchvision", exported.path, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("form", ["timm", "detectron2", "safetensors"])
def test_nothing_is_left_behind_when_the_proof_fails(exported, tmp_path, monkeypatch, form):
    to(form, exported.path, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(certificate, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="nothing was written"):
        to(form, exported.path, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_writer_that_loses_a_bit_is_found_out(exported, tmp_path, monkeypatch):
    honest = formats.KNOWN["timm"]

    def write(path, weights, meta):
        honest.write(
            path, {**weights, "conv1.weight": weights["conv1.weight"].nextafter(torch.ones(1))}, meta
        )

    monkeypatch.setitem(formats.KNOWN, "timm", formats.Format("timm", ".pth", "timm", write))
    with pytest.raises(CheckpointError, match=r"stem\.conv1\.weight"):
        to("timm", exported.path, tmp_path)


def test_what_a_stranger_writes_into_meta_cannot_break_or_swell_the_certificate(exported, tmp_path):
    payload = torch.load(exported.path, weights_only=True)
    swelling: list = ["x"]
    for _ in range(40):
        swelling = [swelling, swelling]
    payload["meta"] |= {
        "licence": {"name": torch.ones(2), "url": swelling},
        "provenance": {"source": swelling},
    }
    stranger = tmp_path / "stranger.pth"
    torch.save(payload, stranger)
    made, certified = export.export(sources.read(stranger), tmp_path / "again.pth")
    assert certified["licence"] == {"name": "unknown", "url": None}
    assert artifact.certificate_path(made.path).stat().st_size < 10**5


@pytest.mark.parametrize(("form", "output"), [("timm", "o.pth"), ("detectron2", "o.pkl")])
def test_the_tool_converts(exported, tmp_path, capsys, form, output):
    path = Path(__file__).parents[3] / "tools" / "export_backbone.py"
    spec = importlib.util.spec_from_file_location("export_backbone", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert errors.run(module.main, [str(exported.path), str(tmp_path / output), "--to", form]) == 0
    printed = capsys.readouterr().out
    assert ("MODEL.WEIGHTS" in printed) == (form == "detectron2")
    assert ("load_state_dict" in printed) == (form == "timm")
    assert errors.run(module.main, [str(exported.path), str(tmp_path / "o.txt"), "--to", form]) == 2
    assert "writes a" in capsys.readouterr().err
