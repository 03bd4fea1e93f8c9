"""What is published is what timm builds, with features equal bit for bit, and a card that hides nothing."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import hub
import pytest
import safetensors.torch
import timm
import torch

from wsl_det import errors
from wsl_det.backbone import artifact, reference
from wsl_det.backbone.arch import Architecture
from wsl_det.zoo import publish, resolve

ROOT = Path(__file__).parents[3]
SMALL = Architecture((1, 1, 1, 1), groups=2, width_per_group=4, res2_channels=32)
PRETRAINING = {
    "images": 48,
    "classes": 5,
    "vocabulary": "ab" * 32,
    "draws": 96,
    "seed": 0,
    "labels": "hashtags",
}


def _main() -> Callable[[Sequence[str]], int]:
    spec = importlib.util.spec_from_file_location("publish_tool", ROOT / "tools" / "publish.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pretraining run, by its files."""
    from pretrain.training import finish, model

    folder = tmp_path_factory.mktemp("publish") / "run"
    folder.mkdir()
    arch = model.make_arch(depth=101, blocks=(1, 1, 1, 1), groups=2, width_per_group=4, res2_channels=32)
    net = model.build(arch, 5)
    for parameter in net.state_dict().values():
        if parameter.dtype == torch.float32:
            parameter.copy_(
                torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.01
            )
    payload = finish.final_payload(
        net, arch, "cd" * 32, vocabulary="ab" * 32, dataset="train-posts-48-5", pretraining=PRETRAINING,
        pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
    torch.save(payload, folder / "model_final.pth")
    results = {
        "recall": {"recall_any@1": 41.5, "heldout_images": 7.0},
        "constant_guess": {"recall_any@1": 20.0},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_dry_run_writes_what_timm_builds(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [str(run), "hf-hub:me/small", "--dry-run", "--output", str(output), "--licence", "cc-by-4.0"]
    gain = {"bbox": {"asked": {"metrics": {"AP": {"baseline": 2.5, "candidate": 7.75}}}}}
    (tmp_path / "gain.json").write_text(json.dumps(gain))
    assert errors.run(_main(), [*words, "--gain", str(tmp_path / "gain.json")]) == 0
    assert {p.name for p in output.iterdir()} == {
        "model.safetensors",
        "model.json",
        "config.json",
        "README.md",
    }
    found = timm.create_model(f"local-dir:{output}", pretrained=True).eval()
    weights = safetensors.torch.load_file(output / "model.safetensors")
    wanted, _ = reference.build(SMALL, weights, stride_in_1x1=False, library="timm")
    photo = torch.rand((1, 3, 64, 64))
    with torch.inference_mode():
        assert torch.equal(found.forward_features(photo), reference.features(wanted, photo)["res5"])
    text = (output / "README.md").read_text()
    for words_ in (
        "train-posts-48-5",
        "ab" * 32,
        "41.50",
        "20.00",
        "| bbox AP | 2.50 | 7.75 |",
        "license: cc-by-4.0",
    ):
        assert words_ in text
    assert "label noise added" in text.partition("## Not measured")[2]
    assert str(run.parent) not in "".join(
        p.read_text() for p in output.iterdir() if p.suffix in (".md", ".json")
    )


def test_the_widest_trunk_is_one_of_timms_with_another_width() -> None:
    class Made:
        arch = Architecture((3, 4, 23, 3), groups=32, width_per_group=48)
        meta = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}  # noqa: RUF012

    told = publish._settings(Made(), {"name": "x"})  # type: ignore[arg-type]
    assert (told["architecture"], told["model_args"]) == ("resnext101_32x8d", {"base_width": 48})
    assert told["pretrained_cfg"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    Made.arch = Architecture((2, 2, 2, 2), "basic", res2_channels=64)
    assert publish._settings(Made(), {"name": "x"})["model_args"] == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hf-hub:me/small"], "licence"),
        (["me/small", "--licence", "mit"], "names no repository"),
        (["hf-hub:me", "--licence", "mit"], "names no repository"),
        (["hf-hub:me/small", "--licence", "mit", "--gain", "/nowhere.json"], "does not exist"),
    ],
)
def test_refusals(
    run: Path, tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    assert errors.run(_main(), [str(run), *words, "--dry-run", "--output", str(output)]) == 2
    assert told in capsys.readouterr().err and not output.exists()


def test_publishing_and_reading_it_back(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from huggingface_hub import constants

    words = [str(run), "hf-hub:me/small", "--licence", "mit"]
    with hub.Hub("geheim") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "wrong")
        assert errors.run(_main(), words) == 2
        assert "hf auth login" in capsys.readouterr().err and not server.repositories
        monkeypatch.setenv("HF_TOKEN", "geheim")
        assert errors.run(_main(), words) == 0
        told = capsys.readouterr()
        assert "geheim" not in told.out + told.err and server.commits == 1
        assert set(server.repositories["me/small"]) == {
            "model.safetensors",
            "model.json",
            "config.json",
            "README.md",
        }
        monkeypatch.chdir(tmp_path)
        exported = artifact.read(resolve.weights("hf-hub:me/small"))
        assert exported.arch == SMALL and exported.meta["licence"]["name"] == "mit"
        assert exported.meta["pretraining"]["draws"] == 96
        assert (
            timm.create_model("hf-hub:me/small", pretrained=True, cache_dir=tmp_path / "hub").num_features
            == 256
        )


def test_two_repositories_are_two_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resolve, "source", lambda text: (text, None))
    monkeypatch.setattr(resolve.export, "export", lambda found, path, about: path.write_text(found))
    for text in ("hf-hub:a/b-c", "hf-hub:a-b/c", "timm:a.b"):
        assert Path(resolve.weights(text, dest=tmp_path)).read_text() == text
