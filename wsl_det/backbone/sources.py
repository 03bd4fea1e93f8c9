"""Weights as people have them, read without executing anything: runs, torch files, safetensors, pickles."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from wsl_det.backbone import arch as arches
from wsl_det.backbone import artifact, batch_norm, conventions, formats, layouts, pickles, signs, soundness
from wsl_det.backbone.arch import Architecture
from wsl_det.backbone.conventions import Convention
from wsl_det.backbone.layouts import Located
from wsl_det.core import checkpoint, files, foreign, yaml_files
from wsl_det.errors import CheckpointError, WslError

# What torchvision, timm and others call the linear classifier.
_HEADS = ("fc", "head.fc", "head", "classifier", "linear", "last_linear")
_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
_TORCH = (".pth", ".pt", ".bin", ".torch", ".pyth", ".tar")


@dataclass(frozen=True, kw_only=True)
class Source(Located):
    """A trunk and everything known about it.

    ``weights``: whole, float32, Detectron2's names; ``originals``: for the model that the file was made
    for. ``because`` says where the input ``convention`` comes from; ``origin`` is what the file itself
    tells about its making.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    arch: Architecture
    bn: str
    convention: Convention
    because: str
    origin: dict[str, Any] = field(default_factory=dict)


def read(
    path: str | Path,
    *,
    expect: str | None = None,
    convention: str | Convention | None = None,
    bn_folded: bool = False,
    wrapper: str | None = None,
    prefix: str | None = None,
) -> Source:
    """The trunk in ``path``, a file or a run's folder.

    ``expect`` is a model name the tensors must agree with (default: the file's own name; "any" asks
    nothing); ``convention`` overrides what the layout implies; ``bn_folded`` declares that absent
    statistics are folded into the affine. Signs of another function than a plain ResNe(X)t's, or of
    other pixels than torchvision's, are refused unless one of them is given. Raises CheckpointError
    with what was found and expected.
    """
    file = find(Path(path))
    payload = load(file)
    where = str(file)
    if artifact.looks_like(payload) and artifact.is_timm(payload["meta"]):
        raise CheckpointError(
            f"{file} is a trunk of timm's, {payload['meta']['arch']['timm']}; a ResNe(X)t is needed here"
        )
    found = layouts.locate(payload, where, wrapper=wrapper, prefix=prefix)
    weights = soundness.as_float32(found.tensors, where)
    sha256 = files.sha256(file)
    origin = _origin(payload) or _beside(file, sha256)
    if not origin:
        lost = bool(batch_norm.missing(weights))
        _check_function(file, payload, expect=expect, said=bool(expect or (convention and not lost)))
    if bn_folded:
        weights = batch_norm.fill_folded(weights)
    bn = batch_norm.judge(weights, where, caffe2=found.layout == layouts.CAFFE2)
    arch = arches.infer({k: tuple(v.shape) for k, v in weights.items()}, where)
    _check_claims(arch, file, expect, origin)
    if isinstance(convention, Convention):
        chosen, because = convention, convention.name
    elif convention:
        chosen, because = conventions.KNOWN[convention], "given on the command line"
    elif "pixel_mean" in origin:
        chosen, because = conventions.from_meta(origin, where), "written in the file or its certificate"
    else:
        chosen, because = _convention(file, payload, found=found, weights=weights, arch=arch, bn=bn)
    return Source(
        **vars(found),
        path=file,
        sha256=sha256,
        weights=weights,
        arch=arch,
        bn=bn,
        convention=chosen,
        because=because,
        origin=origin,
    )


def head(source: Source) -> tuple[Tensor, Tensor] | None:
    """The classifier in a source's file: (K, C) weights and (K,) biases, float32; None when it has none."""
    state = layouts.box(load(source.path), source.wrapper)
    for name in _HEADS:
        leaves = ("weight", "bias")
        found = {leaf: layouts.as_tensor(state.get(f"{source.prefix}{name}.{leaf}")) for leaf in leaves}
        if getattr(found["weight"], "ndim", 0) != 2:
            continue
        told = {leaf: value for leaf, value in found.items() if value is not None}
        sound = soundness.as_float32(told, f"{source.path}: its classifier {name}")
        weight = sound["weight"]
        bias = sound.get("bias", weight.new_zeros(len(weight)))
        if bias.shape != weight.shape[:1]:
            raise CheckpointError(f"{source.path}: its classifier {name} is damaged; copy the file again")
        return weight, bias
    return None


def find(path: Path) -> Path:
    """The file of a source, which may be a run's folder."""
    if not path.is_dir():
        if not path.is_file():
            raise CheckpointError(f"source {path} does not exist")
        return path
    final = path / "model_final.pth"
    if not final.is_file():
        saved = sorted(p.name for p in path.glob("model_*.pth"))
        more = f"; to take an unfinished run, name its file: {path / saved[-1]}" if saved else ""
        raise CheckpointError(f"folder {path} has no model_final.pth, so it is no finished run{more}")
    return final


def load(file: Path) -> dict[str, Any]:
    """What a file of weights holds, by its suffix, without executing anything in it."""
    suffix = file.suffix.lower()
    if suffix == ".pkl":
        payload = pickles.read(file)
        # Caffe2's own files hold their arrays under "blobs" or at the top; Detectron2's under "model".
        return {"model": payload["blobs"]} if isinstance(payload.get("blobs"), dict) else payload
    if suffix == ".safetensors":
        return _load_safetensors(file)
    if suffix in _TORCH:
        return checkpoint.load_weights(file)
    raise CheckpointError(
        f"{file} ends in {suffix!r}; expected a folder, {', '.join(_TORCH)}, .safetensors or .pkl"
    )


def _load_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    if found := foreign.instead_of_weights(file):
        raise CheckpointError(f"{file} is not a whole safetensors file: it {found}")
    if shard := _SHARD.search(file.name):
        raise CheckpointError(
            f"{file} is one of {int(shard[1])} shards; join them first: read each with "
            "safetensors.torch.load_file, write all their tensors with save_file, and give that file"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in list(opened.keys())}
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        told = foreign.damage(error, file)
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({told}); copy or download it again"
        ) from None
    if formats.METADATA in about:
        try:
            return {"model": tensors, "meta": json.loads(about[formats.METADATA])}
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: what it says about itself is no JSON ({error})") from None
    return {"model": tensors, "metadata": about} if about.keys() - {"format"} else tensors


def _beside(file: Path, sha256: str) -> dict[str, Any]:
    """What the certificate of a file of ours says, or nothing; formats without room for it need it."""
    certified = artifact.read_certificate(file, sha256)
    if certified is None:
        return {}
    told = {k: certified.get(k) for k in ("arch", "stride_in_1x1", "licence", "provenance")}
    pixels = certified.get("input")
    if not isinstance(told["arch"], Mapping) or not isinstance(pixels, Mapping):
        return {}
    return {**told, **{k: pixels.get(k) for k in ("channel_order", "pixel_mean", "pixel_std")}}


def _origin(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What one of our own files says about itself: a run's header or an artifact's meta, or nothing."""
    for key in ("wsl_det", "meta"):
        header = payload.get(key)
        if isinstance(header, Mapping) and isinstance(header.get("arch"), Mapping):
            beside = {k: v for k, v in payload.items() if k in _BESIDE}
            return {**beside, **header}
        if isinstance(header, Mapping) and (pixels := _configured(header.get("config"))):
            return {**_of_detector(header.get("backbone")), **pixels}
    return {}


_BESIDE = ("pixel_mean", "pixel_std", "channel_order", "stride_in_1x1", "vocabulary", "dataset")


def _configured(config: Any) -> dict[str, Any]:
    """How pixels enter a detector, from its whole configuration; nothing from anything else."""
    try:
        return {
            "channel_order": config["INPUT"]["FORMAT"],
            "pixel_mean": config["MODEL"]["PIXEL_MEAN"],
            "pixel_std": config["MODEL"]["PIXEL_STD"],
            "stride_in_1x1": config["MODEL"]["RESNETS"]["STRIDE_IN_1X1"],
        }
    except (KeyError, TypeError, IndexError):
        return {}


def _of_detector(backbone: Any) -> dict[str, Any]:
    """Licence and provenance of the backbone that a detector started from; it has learned since."""
    told = backbone if isinstance(backbone, Mapping) else {}
    known = told.get("provenance")
    known = dict(known) if isinstance(known, Mapping) else {}
    known["training_data"] = f"{known.get('training_data', 'unknown')}, then a detector's"
    return {"licence": told.get("licence"), "provenance": known}


def _check_claims(arch: Architecture, file: Path, expect: str | None, origin: Mapping[str, Any]) -> None:
    told = arches.from_dict(origin["arch"]) if "arch" in origin else arch
    if told != arch:
        raise CheckpointError(
            f"{file} says it is a {told.name}, its tensors are a {arch.name}; it is damaged"
        )
    if expect != "any" and (expect or not origin):
        arches.check_claim(arch, expect or file.stem, str(file))


def _check_function(file: Path, payload: Mapping[str, Any], *, expect: str | None, said: bool) -> None:
    """Refuse what has a plain ResNe(X)t's names and computes something else, unless it is said to be one."""
    asked = signs.told(signs.FUNCTIONS, {"--arch": expect or ""})
    found = asked or (None if said else signs.told(signs.FUNCTIONS, signs.texts(file, payload)))
    if found:
        what, word, place = found
        raise CheckpointError(
            f"{file}: {word!r} in {place} tells of {what}, which this version does not build; names and "
            "shapes are a plain ResNe(X)t's, its features would be others. If it is a plain one all the "
            "same, say so with --arch NAME, such as --arch resnet50"
        )


def _convention(
    file: Path,
    payload: Mapping[str, Any],
    *,
    found: Located,
    weights: Mapping[str, Tensor],
    arch: Architecture,
    bn: str,
) -> tuple[Convention, str]:
    """The input convention that a file's names or the config beside it imply; refused where they are none."""
    choose = f"say which pixels and strides it wants: --convention {'|'.join(conventions.KNOWN)}"
    if payload.get("__author__") == "torchvision":
        return conventions.TORCHVISION, "written in the file"
    if found.layout == layouts.TORCHVISION:
        sign = signs.told(signs.PIXELS, signs.texts(file, payload))
        against = f"{sign[1]!r} in {sign[2]} tells of {sign[0]}" if sign else signs.of_other_pixels(weights)
        if against:
            raise CheckpointError(f"{file} has torchvision's names, but {against}; {choose}")
        return conventions.TORCHVISION, conventions.ASSUMED
    if found.layout == layouts.CAFFE2:
        # configs/COCO-InstanceSegmentation of Detectron2: ResNeXt from FAIR, ResNet from MSRA.
        of_resnext = conventions.CAFFE2 if bn == batch_norm.FOLDED else conventions.FAIR
        kind = "ResNeXt" if arch.groups > 1 else "ResNet"
        chosen = of_resnext if arch.groups > 1 else conventions.MSRA
        return chosen, f"Detectron2's configuration of its Caffe2 {kind} with bn: {bn}"
    beside = None
    with suppress(WslError):  # what Detectron2 and we write into a run's folder
        beside = yaml_files.read(file.parent / "config.yaml", "config")
    if pixels := _configured(beside):
        return conventions.from_meta(pixels, str(file)), "the config.yaml of the run it lies in"
    raise CheckpointError(f"{file} has Detectron2's names and does not say which pixels it wants; {choose}")
