"""Real weights from the archive to classes of real photos: decoded, exported, proved, right."""

from __future__ import annotations

import importlib.util
import tarfile
from pathlib import Path

import pytest
import torch

from wsl_det import errors
from wsl_det.backbone import artifact

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
PHOTOS = 40

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "weights.tar").is_file(), reason="../shared/data/weights.tar is absent"),
    pytest.mark.skipif(not (DATA / "imagenet_sample.tar").is_file(), reason="the photos are absent"),
]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpack(archive: str, folder: Path, wanted) -> list[Path]:
    with tarfile.open(DATA / archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and wanted(m.name)]
        tar.extractall(folder, members=members, filter="data")
    return [folder / m.name for m in members]


@torch.no_grad()
def test_a_quantised_resnet_18_knows_what_it_sees(tmp_path):
    (source,) = unpack("weights.tar", tmp_path, lambda n: n.endswith("resnet18_large_blocks.pth"))
    decoded, out = tmp_path / "resnet18.pth", tmp_path / "backbone.pth"
    assert errors.run(load(ROOT / "tools/decode_quantised.py").main, [str(source), str(decoded)]) == 0
    assert errors.run(load(ROOT / "tools/export_backbone.py").main, [str(decoded), str(out)]) == 0
    made = artifact.read(out)
    assert (made.meta["bn"], made.arch.name) == ("folded", "ResNet-18")
    assert made.certificate["largest relative error of features"] < 1e-5

    with tarfile.open(DATA / "imagenet_sample.tar") as tar:
        names = sorted(m.name for m in tar.getmembers() if m.isfile() and m.name.endswith(".jpg"))
    wnids = sorted({Path(n).parent.name for n in names})
    assert len(wnids) == 1000
    chosen = set(names[:: len(names) // PHOTOS][:PHOTOS])
    photos = unpack("imagenet_sample.tar", tmp_path, chosen.__contains__)
    read = load(ROOT / "benchmarks/imagenet_top1.py").read
    images = torch.stack([read(p, whole=False) for p in photos])

    trunk = made.arch.build(stride_in_1x1=False, norm="FrozenBN")
    trunk.load_state_dict(made.weights)
    head = torch.load(decoded, weights_only=True)
    pooled = trunk.eval()(images)["res5"].mean((2, 3))
    found = (pooled @ head["fc.weight"].T + head["fc.bias"]).argmax(1)
    right = sum(wnids[int(i)] == p.parent.name for i, p in zip(found, photos, strict=True))
    # On all thousand it is 67.7%; one in a thousand by chance.
    assert right >= PHOTOS // 2, f"{right} of {PHOTOS}"
