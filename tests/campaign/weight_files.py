"""Weights, certificates, lock files and checkpoints: small good files and how tools read them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import mutations
import reader


def _state() -> dict[str, Any]:
    import torch
    from timm.models import resnet

    torch.manual_seed(0)
    model = resnet.ResNet(
        resnet.BasicBlock, (1, 1, 1, 1), channels=(8, 16, 32, 64), stem_width=8, num_classes=2
    )
    return {k: v + 0.01 if v.is_floating_point() else v for k, v in model.state_dict().items()}


def _pth(folder: Path, zipped: bool = True) -> Path:
    import torch

    torch.save(_state(), folder / "small.pth", _use_new_zipfile_serialization=zipped)
    return folder / "small.pth"


def _pkl(folder: Path) -> Path:
    import pickle

    arrays = {k: v.numpy() for k, v in _state().items() if "num_batches" not in k}
    (folder / "small.pkl").write_bytes(
        pickle.dumps({"model": arrays, "__author__": "x", "matching_heuristics": True})
    )
    return folder / "small.pkl"


def _safetensors(folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file(_state(), folder / "small.safetensors", {"format": "pt", "origin": "x"})
    return folder / "small.safetensors"


def _source(path: Path, **options: Any) -> Any:
    from wsl_det.backbone import sources

    found = sources.read(path, expect="any", **options)
    assert all(bool(v.isfinite().all()) for v in found.weights.values())
    sources.head(found)
    return found


def _artifact(folder: Path) -> Path:
    from wsl_det.backbone import export

    export.export(_source(_pth(folder)), folder / "trunk.pth")
    return folder / "trunk.pth"


def _read_artifact(path: Path) -> None:
    from wsl_det.backbone import artifact

    artifact.read(path).sha256  # noqa: B018
    path.with_suffix(".json").unlink(missing_ok=True)
    _source(path)


def _certificate(folder: Path) -> Path:
    return _artifact(folder).with_suffix(".json")


def _read_certificate(path: Path) -> None:
    from wsl_det.backbone import artifact, export

    weights = path.with_suffix(".pth")
    certified = artifact.read_certificate(weights, artifact.read(weights).sha256)
    if certified is not None:
        export.describe(artifact.read(weights), certified)
    _source(weights)


def _zoo_lock(folder: Path) -> Path:
    from wsl_det.core import files

    _pth(folder)
    facts = {"name": "x", "url": "https://x/y", "downloaded": "2026-01-01", "bytes": 1, "mtime_ns": 1}
    record = {**facts, "sha256": files.sha256(folder / "small.pth")}
    licence = {"accepted": "2026-01-01", "url": "https://x"}
    path = folder / "zoo.lock.json"
    path.write_text(json.dumps({"schema": 1, "files": {"small.pth": record}, "licences": {"free": licence}}))
    return path


def _read_zoo_lock(path: Path) -> None:
    from wsl_det.zoo import resolve
    from wsl_det.zoo.store import Store

    store = Store(path.parent)
    store.verify(path.parent / "small.pth", None)
    resolve.known(path.parent / "small.pth")
    store.pinned("small.pth")


def _detector(folder: Path) -> Path:
    import torch

    state = {f"backbone.bottom_up.{k}": v for k, v in _net().state_dict().items()}
    header = {"config": {"INPUT": {"FORMAT": "RGB"}}, "categories": [{"id": 1, "name": "a"}]}
    torch.save({"model": state, "wsl_det": header, "iteration": 3}, folder / "model_final.pth")
    return folder / "model_final.pth"


def _read_detector(path: Path) -> None:
    from torch import nn

    from wsl_det.detector import weights

    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.bottom_up = _net()
    weights.detector(model, str(path))
    assert all(bool(v.isfinite().all()) for v in model.state_dict().values())


def _net() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def _loop(folder: Path) -> Any:
    import torch

    from wsl_det.core import checkpoint, loop

    net = _net()
    plan = loop.Plan(max_iter=4, lr=lambda i: 1.0, checkpoint_period=2, fingerprint={"lr": 1}, describe=str)
    losses = lambda batch, i: {"loss": net(batch).square().mean()}  # noqa: E731
    step = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    run = checkpoint.RunFolder(folder)
    return loop.Loop(model=net, losses=losses, optimizer=step, folder=run, metrics=None, plan=plan)


def _checkpoint(folder: Path) -> Path:
    import torch

    _loop(folder).run(iter([torch.ones(4, 2)] * 4))
    *older, newest = sorted(folder.glob("model_0*.pth"))
    for path in older:  # which would stand in for it
        path.unlink()
    return newest


def _read_checkpoint(path: Path) -> None:
    import torch

    trainer = _loop(path.parent)
    start = trainer.resume()
    assert 0 <= start <= 4
    trainer._step(torch.ones(4, 2), start)


READERS = {
    "pth": reader.Reader(_pth, _source, reader.STORED),
    "old_pth": reader.Reader(partial(_pth, zipped=False), _source, reader.BYTES),
    "pkl": reader.Reader(_pkl, _source, reader.BYTES),
    "safetensors": reader.Reader(_safetensors, _source, (mutations.of_safetensors, mutations.of_bytes)),
    "artifact": reader.Reader(_artifact, _read_artifact, (mutations.of_zip, mutations.of_bytes)),
    "certificate": reader.Reader(_certificate, _read_certificate, reader.JSON),
    "zoo_lock": reader.Reader(_zoo_lock, _read_zoo_lock, reader.JSON),
    "detector": reader.Reader(_detector, _read_detector, reader.STORED),
    "checkpoint": reader.Reader(_checkpoint, _read_checkpoint, reader.STORED),
}
