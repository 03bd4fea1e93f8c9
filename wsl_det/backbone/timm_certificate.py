"""The certificate of a trunk of timm's: its maps and logits equal those of the whole classifier, proved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from wsl_det.backbone import batch_norm, certificate, reference, timm_models, transfer
from wsl_det.backbone.artifact import Artifact
from wsl_det.backbone.timm_source import TimmSource
from wsl_det.backbone.timm_trunk import TimmTrunk
from wsl_det.core import provenance
from wsl_det.errors import CheckpointError

_TIMM = ("interpolation", "crop_pct", "crop_mode", "input_size", "test_input_size", "origin_url", "paper_ids")


def meta(source: TimmSource, header: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact says about itself; pixels, sizes and licence are those of timm's configuration."""
    config, known = source.declared.config, source.declared
    given = {key: config.get(key) for key in _TIMM}
    told = {key: list(v) if isinstance(v, tuple) else v for key, v in given.items() if v is not None}
    more = {"resampled_from_patch": known.resampled} if known.resampled else {}
    return {
        **header,
        "arch": source.arch.to_dict(),
        "channel_order": "RGB",
        "pixel_mean": timm_models.of_255(config["mean"]),
        "pixel_std": timm_models.of_255(config["std"]),
        "stride_in_1x1": False,
        "bn": source.bn,
        **facts,
        "timm": {
            "version": metadata.version("timm"),
            "channels": known.channels,
            "strides": known.strides,
            "input_divisor": known.divisor,
            **({"seed": source.seed} if source.seed is not None else {}),
            **told,
            **more,
        },
    }


def certify(source: TimmSource, artifact: Artifact) -> dict[str, Any]:
    """The certificate of ``artifact``; CheckpointError when maps or logits differ more than the tolerance."""
    used = {f.became for f in source.fates if f.fate == "used"}
    # Behind timm's own renaming nobody can tell which tensor is whose; that none is lacking, the reader asks.
    filled = [] if used - artifact.weights.keys() else sorted(artifact.weights.keys() - used)
    made_from = {"source": source.sha256 and f"sha256:{source.sha256}"}
    found = artifact.meta
    return {
        **provenance.header(
            "backbone certificate", certificate.SCHEMA, {**made_from, "artifact": f"sha256:{artifact.sha256}"}
        ),
        "source": certificate.about_file(source.path, str(source.sha256))
        if source.path
        else {"seed": source.seed},
        "artifact": certificate.about_file(artifact.path, artifact.sha256),
        "arch": {**source.arch.to_dict(), "name": source.arch.name},
        **certificate.about_keys(source.fates, artifact, filled),
        "bn": found["bn"],
        "convention": f"timm's settings of {source.arch.model}",
        "input": {k: found[k] for k in ("channel_order", "pixel_mean", "pixel_std")},
        "timm": found["timm"],
        "parity": prove(source, artifact),
        "licence": found["licence"],
        "provenance": found["provenance"],
        "config": config_keys(artifact),
    }


def config_keys(artifact: Artifact) -> dict[str, Any]:
    """The detector's config keys that fit the artifact."""
    return {
        "MODEL.WEIGHTS": str(artifact.path),
        "INPUT.FORMAT": artifact.meta["channel_order"],
        "MODEL.PIXEL_MEAN": artifact.meta["pixel_mean"],
        "MODEL.PIXEL_STD": artifact.meta["pixel_std"],
        **artifact.arch.config_keys(),
    }


def prove(source: TimmSource, artifact: Artifact) -> dict[str, Any]:
    """Largest relative errors of maps and logits, at the configured size and at another.

    The reference is timm's classifier as ``timm.create_model`` makes it, its maps taken on the way to the
    logits; the other side is our trunk with what the artifact's file holds, tensors and ``meta``. The
    logits are the classifier's own once more, with our last map in the place of its own.
    """
    known = source.declared
    name = source.arch.model
    trunk = TimmTrunk(name, frozen_norm=artifact.meta["bn"] != batch_norm.INITIAL).eval()
    transfer.fill(trunk.model, artifact)
    _, height, width = known.config["input_size"]
    if known.resampled:
        height, width = (side // known.resampled * 16 for side in (height, width))
    smaller = max(1, round(height / 2 / known.divisor)) * known.divisor
    sizes = [(height, width), (smaller, smaller + known.divisor)]
    errors: dict[str, float] = {}
    for size in sizes:
        for key, error in _errors(source, trunk, artifact.meta, size).items():
            errors[key] = max(errors.get(key, 0.0), error)
    if not all(error <= certificate.TOLERANCE for error in errors.values()):
        shown = ", ".join(f"{key} {error:.2g}" for key, error in errors.items())
        raise CheckpointError(
            f"the trunk does not compute what timm's {name} does: largest relative error {shown}, allowed "
            f"{certificate.TOLERANCE:g}: nothing was written"
        )
    return {
        "reference": f"timm {metadata.version('timm')} {name}, the whole classifier",
        "sizes": [list(size) for size in sizes],
        "tolerance": certificate.TOLERANCE,
        "logits": "the file's classifier" if source.whole else "a drawn classifier: the file holds none",
        "largest_relative_error": errors,
    }


@torch.no_grad()
def _errors(
    source: TimmSource, trunk: TimmTrunk, meta: Mapping[str, Any], size: tuple[int, int]
) -> dict[str, float]:
    pictures = reference.probe(*size)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(meta[key]).view(3, 1, 1) for key in ("pixel_mean", "pixel_std"))
    theirs = normalize(pixels / 255, source.declared.config["mean"], source.declared.config["std"])
    info: Any = source.model.feature_info
    places = {key: info[index]["module"] for key, index in source.declared.features.items()}
    with _Taps(trunk.model, places.values()) as ours:
        maps = trunk((pixels - mean) / std)
    with _Taps(source.model, places.values()) as whole:
        logits = _logits(source.model(theirs))
    errors = {}
    for key, place in places.items():
        native = ours.taken[place]
        errors[key] = certificate.relative_error(native, whole.taken[place])
        if not _same_values(maps[key], native):
            raise CheckpointError(f"timm's {source.arch.model}: {key} is not what its module {place} gives")
    last = places[max(source.declared.features, key=lambda key: source.declared.features[key])]
    with _Taps(source.model, (last,), instead=ours.taken[last]):
        errors["logits"] = certificate.relative_error(_logits(source.model(theirs)), logits)
    return errors


class _Taps:
    """What modules of a model gave while it ran, by their names; ``instead`` replaces what they give."""

    def __init__(self, model: nn.Module, names: Sequence[str] | Any, instead: Tensor | None = None) -> None:
        self.taken: dict[str, Tensor] = {}
        self._instead = instead
        self._places = {name: model.get_submodule(name) for name in names}
        self._handles: list[Any] = []

    def __enter__(self) -> _Taps:
        for name, module in self._places.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def take(module: nn.Module, inputs: Any, output: Any) -> Any:
            rest = isinstance(output, tuple | list)
            # A copy: activations in place would change it.
            self.taken[name] = (output[0] if rest else output).clone()
            if self._instead is None:
                return None
            return type(output)([self._instead.clone(), *output[1:]]) if rest else self._instead.clone()

        return take


def _same_values(found: Tensor, native: Tensor) -> bool:
    """Whether a (N, C, H, W) map is what a module gave, in another order and without prefix tokens."""
    _, channels, height, width = found.shape
    if native.shape == found.shape:
        return torch.equal(native, found)
    if native.ndim == 4:
        return torch.equal(native.permute(0, 3, 1, 2), found)
    prefix = native.shape[1] - height * width
    tokens = native[:, prefix:].transpose(1, 2) if native.shape[2] == channels else native[:, :, prefix:]
    return math.prod(tokens.shape) == found.numel() and torch.equal(tokens.reshape(found.shape), found)


def _logits(output: Any) -> Tensor:
    """Distilled models give two heads while they train; one alone otherwise."""
    found: Tensor = output[0] if isinstance(output, tuple | list) else output
    return found
