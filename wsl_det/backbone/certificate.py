"""The certificate of an artifact: every key's fate, and features equal to the source model's, proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsl_det.backbone import conventions, names, reference
from wsl_det.backbone.artifact import Artifact
from wsl_det.backbone.layouts import TORCHVISION, KeyFate
from wsl_det.backbone.sources import Source
from wsl_det.core import provenance
from wsl_det.errors import CheckpointError

SCHEMA = 1
TOLERANCE = 1e-4
"""Largest error allowed, relative to the largest feature of a stage.

The two sides normalise pixels in another order of float32 operations (about 1e-6 after fifty layers);
the smallest of the silent failures, a misplaced stride, moves features by 2e-2.
"""


def certify(source: Source, artifact: Artifact) -> dict[str, Any]:
    """The certificate of ``artifact``, made from ``source``, as plain values ready for JSON.

    Raises CheckpointError when the features differ by more than ``TOLERANCE`` at any stage.
    """
    used = {f.became for f in source.fates if f.fate == "used"}
    return {
        **provenance.header(
            "backbone certificate",
            SCHEMA,
            {"source": f"sha256:{source.sha256}", "artifact": f"sha256:{artifact.sha256}"},
        ),
        "source": about_file(source.path, source.sha256)
        | {"layout": source.layout, "wrapper": source.wrapper, "prefix": source.prefix},
        "artifact": about_file(artifact.path, artifact.sha256),
        "arch": {**artifact.arch.to_dict(), "name": artifact.arch.name},
        **about_keys(source.fates, artifact, sorted(artifact.weights.keys() - used)),
        "bn": artifact.meta["bn"],
        "convention": source.because
        if source.because == conventions.ASSUMED
        else f"{source.convention.name} ({source.because})",
        "input": {k: artifact.meta[k] for k in ("channel_order", "pixel_mean", "pixel_std")}
        | {"because": source.because},
        "stride_in_1x1": artifact.meta["stride_in_1x1"],
        "parity": prove(source, artifact),
        "licence": artifact.meta["licence"],
        "provenance": artifact.meta["provenance"],
        **({"pretraining": artifact.meta["pretraining"]} if "pretraining" in artifact.meta else {}),
        "config": config_keys(artifact),
    }


def config_keys(artifact: Artifact) -> dict[str, Any]:
    """The detector's config keys that fit the artifact; folded statistics ask for frozen norm."""
    keys: dict[str, Any] = {
        "MODEL.WEIGHTS": str(artifact.path),
        "INPUT.FORMAT": artifact.meta["channel_order"],
        "MODEL.PIXEL_MEAN": artifact.meta["pixel_mean"],
        "MODEL.PIXEL_STD": artifact.meta["pixel_std"],
        "MODEL.RESNETS.STRIDE_IN_1X1": artifact.meta["stride_in_1x1"],
        **artifact.arch.config_keys(),
    }
    return keys | ({"MODEL.RESNETS.NORM": "FrozenBN"} if artifact.meta["bn"] == "folded" else {})


def prove(source: Source, artifact: Artifact) -> dict[str, Any]:
    """Largest relative error at res2..res5 on the probe, through the whole preprocessing of both sides.

    One side is the source's own model with the file's own tensors and its rule for pixels; the other is
    our trunk with what the artifact's file holds, tensors and ``meta``. A stage's error is the largest
    difference over the largest value.
    """
    pictures = reference.probe()
    if source.layout == TORCHVISION:
        originals = source.originals
        extra = set(source.weights) - {names.to_detectron2(k) for k in originals}
        originals = originals | {names.to_torchvision(k): source.weights[k] for k in extra}
    else:
        originals = {names.to_torchvision(k): v for k, v in source.weights.items()}
    model, maker = reference.build(source.arch, originals, stride_in_1x1=source.convention.stride_in_1x1)
    theirs = reference.features(model, reference.source_input(pictures, source.convention))
    ours = _our_features(artifact, pictures)
    errors = {stage: relative_error(ours[stage], theirs[stage]) for stage in theirs}
    if not all(error <= TOLERANCE for error in errors.values()):
        shown = ", ".join(f"{stage} {error:.2g}" for stage, error in errors.items())
        raise CheckpointError(
            f"the backbone does not compute what {source.path} does: largest relative error {shown}, "
            f"allowed {TOLERANCE:g}; channel order, pixel mean or std, the place of the stride or a tensor "
            "is wrong: nothing was written"
        )
    return {
        "reference": maker,
        "probe": {"shape": list(pictures.shape), "dtype": "uint8"},
        "tolerance": TOLERANCE,
        "largest_relative_error": errors,
    }


@torch.no_grad()
def _our_features(artifact: Artifact, pictures: np.ndarray) -> dict[str, Tensor]:
    meta = artifact.meta
    with torch.device("meta"):
        trunk = artifact.resnet.build(stride_in_1x1=meta["stride_in_1x1"], norm="FrozenBN")
    trunk.load_state_dict(artifact.weights, assign=True)
    ordered = pictures if meta["channel_order"] == "RGB" else pictures[..., ::-1]
    images = torch.from_numpy(np.ascontiguousarray(ordered)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(meta[k]).view(3, 1, 1) for k in ("pixel_mean", "pixel_std"))
    features: dict[str, Tensor] = trunk.eval()((images.float() - mean) / std)
    return features


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    largest, error = float(theirs.abs().max()), float((ours - theirs).abs().max())
    if largest:
        return error / largest
    return 0.0 if error == 0 else float("inf")  # a dead stage, all zero after ReLU, is equalled by another


def about_keys(fates: Sequence[KeyFate], artifact: Artifact, filled: list[str]) -> dict[str, Any]:
    """What became of every key of the source, and which tensors the file did not hold."""
    used = sum(f.fate == "used" for f in fates)
    return {
        "keys": [{k: v for k, v in asdict(f).items() if v is not None} for f in fates],
        "counts": {
            "used": used,
            "dropped": len(fates) - used,
            "missing": 0,
            "filled": len(filled),
            "tensors": len(artifact.weights),
        },
        "filled": filled,
        "finite": True,
    }


def about_file(path: Any, sha256: str) -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256}
