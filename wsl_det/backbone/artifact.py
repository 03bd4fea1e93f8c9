"""The backbone artifact: unprefixed trunk tensors and what must be known to use them, in one ``.pth``.

``{"model": {"stem.conv1.weight": tensor, ...}, "matching_heuristics": True, "meta": {plain values}}``.
Stock Detectron2 takes it as MODEL.WEIGHTS (the flag makes it match every trunk tensor); our engines
load it strictly through ``transfer``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsl_det.backbone import arch as arches
from wsl_det.backbone import batch_norm, conventions, layouts, soundness
from wsl_det.backbone.arch import Architecture
from wsl_det.backbone.timm_models import TimmArchitecture
from wsl_det.core import checkpoint, files
from wsl_det.errors import CheckpointError

SCHEMA = 1
_META = ("kind", "schema", "arch", "pixel_mean", "pixel_std", "channel_order", "stride_in_1x1", "bn")


@dataclass(frozen=True)
class Artifact:
    """A backbone read from ``path``: float32 weights under Detectron2's names, and ``meta``."""

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    meta: dict[str, Any]
    arch: Architecture | TimmArchitecture
    certificate: dict[str, Any] | None = None
    """What the certificate beside the file proves; None without one."""

    @property
    def resnet(self) -> Architecture:
        """The ResNe(X)t that it is; CheckpointError for a trunk of timm's."""
        if isinstance(self.arch, TimmArchitecture):
            raise CheckpointError(
                f"{self.path} is {self.arch.name}, a trunk for MODEL.BACKBONE.NAME build_timm_fpn_backbone; "
                "a ResNe(X)t under Detectron2's names is needed here"
            )
        return self.arch

    @property
    def ancestry(self) -> dict[str, Any]:
        """What a detector's header and a report say about this backbone: ``meta``, file, hash, proof."""
        proved = self.certificate or "none beside the file: its features were not proved"
        return {**self.meta, "path": str(self.path), "sha256": self.sha256, "certificate": proved}


def write(path: str | Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write an artifact whole or not at all; ``meta`` must be plain values with ``_META``'s keys."""
    path = Path(path)
    if path.suffix != ".pth":
        # Detectron2 chooses its reader by the suffix; .pkl would be unpickled by another rule.
        raise CheckpointError(f"a backbone is written as .pth, not {path.name!r}; name it {path.stem}.pth")
    assert not (lacking := [k for k in _META if k not in meta]), lacking
    # Numpy numbers and tuples would not survive weights_only or would come back as something else.
    assert json.loads(json.dumps(meta)) == meta, meta
    model = {k: v.detach().to("cpu", torch.float32).contiguous().clone() for k, v in weights.items()}
    checkpoint.save(path, {"model": model, "matching_heuristics": True, "meta": dict(meta)})


def looks_like(payload: Mapping[str, Any]) -> bool:
    """Whether a loaded ``.pth`` claims to be an artifact (rather than a detector or foreign weights)."""
    meta = payload.get("meta")
    return isinstance(meta, Mapping) and meta.get("kind") == "backbone"


def read(path: str | Path) -> Artifact:
    """The artifact in a file, checked: format, every tensor of the trunk, dtypes, finite, BN.

    A certificate beside it must be of this very file. Raises CheckpointError; weights of another
    format are answered with the command that converts them.
    """
    path = Path(path)
    convert = f"make one with: wsl-det export_backbone {path} {path.with_name(path.stem + '_d2.pth')}"
    if path.suffix in (".pkl", ".safetensors"):
        raise CheckpointError(f"{path} is not a backbone artifact (.pth); {convert}")
    payload = checkpoint.load_weights(path)
    if not looks_like(payload):
        keys = ", ".join(map(str, list(payload)[:5]))
        raise CheckpointError(f"{path} is not a backbone artifact (it holds {keys}, ...); {convert}")
    return from_payload(payload, path)


def from_payload(payload: Mapping[str, Any], path: str | Path) -> Artifact:
    """The artifact in what ``torch.load`` gave for ``path``, with the checks of ``read``."""
    path, meta = Path(path), dict(payload["meta"])
    lacking = [k for k in _META if k not in meta]
    if lacking or meta["schema"] != SCHEMA or payload.get("matching_heuristics") is not True:
        raise CheckpointError(
            f"{path} is a backbone of schema {meta.get('schema')}, lacking {', '.join(lacking) or 'none'}; "
            f"this version reads schema {SCHEMA}: export it again"
        )
    conventions.from_meta(meta, str(path))
    model = payload.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{path} holds no 'model'; export it again")
    # Detectron2's .pkl holds arrays.
    weights = soundness.as_float32({k: layouts.as_tensor(v) for k, v in model.items()}, str(path))
    arch, bn = _timm(weights, meta, path) if is_timm(meta) else _resnet(weights, meta, path)
    if bn != meta["bn"]:
        raise CheckpointError(f"{path} says bn: {meta['bn']}, its statistics are {bn}; export it again")
    sha256 = files.sha256(path)
    return Artifact(path, sha256, weights, meta, arch, _proof(read_certificate(path, sha256)))


def is_timm(meta: Mapping[str, Any]) -> bool:
    """Whether an artifact says that it is one of timm's trunks."""
    return isinstance(meta["arch"], Mapping) and isinstance(meta["arch"].get("timm"), str)


def _resnet(
    weights: Mapping[str, Tensor], meta: Mapping[str, Any], path: Path
) -> tuple[Architecture | TimmArchitecture, str]:
    arch = arches.infer({k: tuple(v.shape) for k, v in weights.items()}, str(path))
    if arch != arches.from_dict(meta["arch"]):
        raise CheckpointError(
            f"{path} says it is {meta['arch']}, its tensors are {arch.name}; export it again"
        )
    return arch, batch_norm.judge(weights, str(path))


def _timm(
    weights: Mapping[str, Tensor], meta: Mapping[str, Any], path: Path
) -> tuple[Architecture | TimmArchitecture, str]:
    """Whether the tensors are the model's is asked where they are loaded, strictly."""
    # No value of a tensor tells that nothing has trained it.
    untrained = meta["bn"] == batch_norm.INITIAL
    bn = batch_norm.INITIAL if untrained else batch_norm.of_statistics(weights, str(path))
    return TimmArchitecture(meta["arch"]["timm"]), bn


def _proof(certified: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of a certificate is worth a line in a report."""
    try:
        parity, counts = (certified or {})["parity"], (certified or {})["counts"]
        worst = [v for v in parity["largest_relative_error"].values() if isinstance(v, float)]
        return {
            "keys used": counts.get("used"),
            "keys dropped on purpose": counts.get("dropped"),
            "keys missing": counts.get("missing"),
            "largest relative error of features": max(worst, default=None),
            "reference": parity.get("reference"),
        }
    except (KeyError, TypeError, AttributeError):
        return None


def certificate_path(path: str | Path) -> Path:
    """Where the certificate of an artifact lies: the same name with ``.json``."""
    return Path(path).with_suffix(".json")


def read_certificate(path: str | Path, sha256: str) -> dict[str, Any] | None:
    """The certificate beside a file with this hash, or None; one of another file is a CheckpointError."""
    path, beside = Path(path), certificate_path(path)
    if not beside.is_file() or beside == path:
        return None
    value = files.read_json(beside, "certificate")
    if not isinstance(value, dict) or value.get("kind") != "backbone certificate":
        return None  # another tool's file of the same name
    about = value.get("artifact")
    certified = about.get("sha256") if isinstance(about, dict) else None
    if certified != sha256:
        raise CheckpointError(
            f"{beside} certifies another file (sha256 {str(certified)[:12]}, {path.name} has {sha256[:12]}); "
            "the weights were changed after their export: export them again"
        )
    return value
