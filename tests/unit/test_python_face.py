"""The Python face: every public name is documented, and the docs' examples and notebooks run as printed."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import pretrain
import wsl_det
from pretrain.stream import transforms
from pretrain.stream.loader import Loader, Share
from pretrain.training import defaults, job
from wsl_det.backbone import artifact
from wsl_det.core import config
from wsl_det.errors import CheckpointError, ConfigError, DataError

DOCS = Path(__file__).parents[2] / "docs"
Scope = dict[str, Any]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scope]:
    """A folder in which both notebooks ran, and the names that they left."""
    folder = tmp_path_factory.mktemp("notebooks")
    scope: Scope = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for source in sorted((DOCS / "notebooks").glob("*.py")):
            assert source.read_text().startswith("# ---\n# jupyter:")
            exec(compile(source.read_text(), str(source), "exec"), scope)
    return folder, scope


@pytest.mark.timeout(300)  # the first report of an installation compiles its loops
def test_the_notebooks_run(work: tuple[Path, Scope]) -> None:
    scope = work[1]
    assert np.mean(scope["losses"][-5:]) < 0.7 * scope["losses"][0]
    assert repr(scope["card"]).count("\n") > 10 and "15% confused gains" in repr(scope["card"])


def test_the_page_about_python_runs_as_printed(
    work: tuple[Path, Scope], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, scope = work
    demo = tmp_path / "demo"
    shutil.copytree(folder / "photos", demo / "data/detection/val")
    (demo / "data/detection/annotations").mkdir()
    shutil.copy(folder / "gt.json", demo / "data/detection/annotations/instances_val.json")
    for name in ("baseline", "candidate"):
        (demo / name).mkdir()
        (demo / name / "predictions.json").write_text(json.dumps(scope[name]))
    for name in ("vocab.json", "backbone.pth", "backbone.json"):
        shutil.copy(folder / name, demo)
    shutil.copytree(folder / "shards", demo / "shards")
    monkeypatch.chdir(tmp_path)
    told: Scope = {}
    for block in (DOCS / "python.md").read_text().split("```python\n")[1:]:
        exec(block.split("```")[0], told)
    said = capsys.readouterr().out
    assert "hashtags gains" in said and "'res5': (8," in said and "nowhere does not exist" in said


def _named() -> list[str]:
    return re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(), flags=re.M)


@pytest.mark.parametrize("name", _named())
def test_public_names_are_there_and_say_what_they_do(name: str) -> None:
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last)
    parts = [thing] + ([v for k, v in vars(thing).items() if k[0] != "_" and callable(v)]
                       if isinstance(thing, type) else [])  # fmt: skip
    assert all(part.__doc__ for part in parts), parts


def test_all_faces_are_in_the_one_list() -> None:
    for face in ("wsl_det", "wsl_det.gain", "wsl_det.evaluation", "pretrain", "pretrain.vocabulary"):
        module = importlib.import_module(face)
        functions = {f"{face}.{n}" for n in module.__all__ if callable(getattr(module, n))}
        assert functions <= set(_named())


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, time\nbegan = time.process_time()\nimport wsl_det, pretrain\n"
        "print(time.process_time() - began, [m for m in ('torch', 'numpy', 'cv2') if m in sys.modules])\n"
        "wsl_det.gain.compare, wsl_det.evaluation.evaluate\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, torch_later = done.stdout.splitlines()
    assert float(first.split()[0]) < 1 and first.endswith("[]") and torch_later == "False"


def test_a_stream_draws_and_crops_as_pretraining_does(work: tuple[Path, Scope]) -> None:
    shards = pretrain.open_shards(work[0] / "shards")
    cfg = config.merge(defaults.TREE, {}, ["DATA.HELDOUT", 0.1, "SEED", 7, "DATA.RESAMPLE", "uniform"])
    theirs = job.make_stream(cfg, shards)
    ours = shards.stream(policy="uniform", seed=7, heldout=0.1)
    assert np.array_equal(ours.take(5, 300), theirs.take(5, 300))
    loader = Loader(shards, theirs, transforms.TrainCrop(32), Share(8, 4), size=32, seed=7)
    batch = next(loader.batches(2, 3, "00"))
    data = ours.dataset(size=32)
    photos, targets = next(iter(DataLoader(data, batch_size=8, sampler=range(16, len(data)))))
    assert torch.equal(photos, batch.images.permute(0, 3, 1, 2))
    assert torch.equal(targets.argmax(1), batch.tags.ids[:, 0]) and targets.sum() == 8


def test_a_data_set_of_a_stream_ends_and_takes_transforms(work: tuple[Path, Scope]) -> None:
    shards = pretrain.open_shards(work[0] / "shards")
    data = shards.stream(policy="natural").dataset(epochs=2, transform=lambda photo: photo.size)
    assert len(data) == 2 * data.stream.num_images and data[3][0] == (96, 96)
    with pytest.raises(IndexError):
        data[len(data)]
    with pytest.raises(ConfigError, match="epochs 0"):
        data.stream.dataset(epochs=0)
    with pytest.raises(ConfigError, match=r"labels is 'synsets'; .* holds hashtags"):
        shards.stream(labels="synsets")
    with pytest.raises(ConfigError, match="'cubic'"):
        shards.stream(policy="cubic")
    with pytest.raises(DataError, match="does not exist; make it with wsl-det build_shards"):
        pretrain.open_shards(work[0] / "nowhere")


def test_photos_that_cannot_be_read_are_named(work: tuple[Path, Scope]) -> None:
    shards = pretrain.open_shards(work[0] / "shards")
    data = shards.stream().dataset(size=8)
    shards.read = lambda i: b"no photo"  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"shards: photo 'post\d+' cannot be read"):
        data[0]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_backbone_takes_care_of_its_pixels(work: tuple[Path, Scope], tmp_path: Path, order: str) -> None:
    found = artifact.read(work[0] / "backbone.pth")
    pixels = {"pixel_mean": [10.0, 20.0, 30.0], "pixel_std": [1.0, 2.0, 4.0], "channel_order": order}
    artifact.write(tmp_path / "b.pth", found.weights, {**found.meta, **pixels})
    backbone = wsl_det.load_backbone(tmp_path / "b.pth", freeze_at=2).train()
    photos = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    ordered = photos.float() if order == "RGB" else photos.float()[:, [2, 1, 0]]
    by_hand = [(ordered[:, c] - pixels["pixel_mean"][c]) / pixels["pixel_std"][c] for c in range(3)]  # type: ignore[index]
    with torch.no_grad():
        features, expected = backbone(photos), backbone.trunk(torch.stack(by_hand, 1))
    assert all(torch.equal(features[k], v) for k, v in expected.items())
    assert {k: v.shape[1] for k, v in features.items()} == backbone.channels
    assert not any(p.requires_grad for p in backbone.trunk.res2.parameters())
    assert all(p.requires_grad for n, p in backbone.trunk.res3.named_parameters() if "conv" in n)


def test_backbones_that_are_none_are_refused(work: tuple[Path, Scope]) -> None:
    with pytest.raises(CheckpointError, match="make one with: wsl-det export_backbone"):
        wsl_det.load_backbone(work[0] / "trained.pth")
    with pytest.raises(CheckpointError, match="norm is 'GN'; expected FrozenBN"):
        wsl_det.load_backbone(work[0] / "backbone.pth", norm="GN")
    learns = wsl_det.load_backbone(work[0] / "backbone.pth", norm="BN")
    assert all(p.requires_grad for p in learns.parameters())
    with pytest.raises(ValueError, match="RGB from 0 to 255"):
        learns(torch.zeros(1, 64, 64, 3))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wsl_det.nothing  # noqa: B018
