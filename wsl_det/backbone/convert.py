"""From weights as people have them to the formats other libraries read, with the same certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsl_det.backbone import certificate, export, formats, reference, sources
from wsl_det.backbone.artifact import Artifact, certificate_path
from wsl_det.backbone.export import Facts
from wsl_det.backbone.formats import Format
from wsl_det.backbone.sources import Source
from wsl_det.core import files
from wsl_det.errors import CheckpointError, ConfigError

_STEM = "stem.conv1.weight"


def convert(
    source: Source, output: str | Path, to: str, facts: Facts | None = None
) -> tuple[Artifact, dict[str, Any]]:
    """Write ``source`` in the format ``to`` with its certificate beside it; returns both as read back.

    The tensors are equal bit for bit, but for the input channels of the stem, which change places when
    a BGR trunk goes to a library that feeds RGB. The library's own model must take the file. If
    anything fails, neither file is written and old ones stay.
    """
    form = formats.KNOWN[to]
    output = Path(output)
    if output.suffix != form.suffix or output.is_dir():
        raise ConfigError(
            f"OUTPUT is {output.name!r}; --to {to} writes a {form.suffix} file, such as "
            f"{output.with_suffix(form.suffix)}"
        )
    weights, meta = _expressed(source, export.meta(source, facts or Facts()), form)
    beside = certificate_path(output)
    with files.atomic_path(beside) as certificate_draft, files.atomic_path(output) as draft:
        form.write(draft, {form.key(k): v for k, v in weights.items()}, meta)
        made = _read_back(draft, weights, meta, form)
        certified = _certified(source, made, form)
        certified["artifact"]["path"] = str(output)
        if form.library is None:
            certified["config"]["MODEL.WEIGHTS"] = str(output)
        files.write_json(certificate_draft, certified)
        beside.unlink(missing_ok=True)  # the order is export's
    return replace(made, path=output), certified


def usage(artifact: Artifact, certified: Mapping[str, Any]) -> str:
    """The lines that load the file where it is meant for, or the config keys for Detectron2."""
    if certified["format"] == "detectron2":
        return export.config_lines(certified)
    meta, arch = artifact.meta, artifact.resnet
    widths = reference.timm_widths(arch)
    if certified["library"] == "torchvision":
        widths = {"groups": arch.groups, "width_per_group": arch.width_per_group}
    told = ", ".join(f"{k}={v}" for k, v in widths.items())
    mean, std = ([round(v / 255, 6) for v in meta[k]] for k in ("pixel_mean", "pixel_std"))
    block = "BasicBlock" if arch.block == "basic" else "Bottleneck"
    read = f'torch.load("{artifact.path}", weights_only=True)'
    if certified["format"] == "safetensors":
        read = f'safetensors.torch.load_file("{artifact.path}")'
    lines = [
        f"model = ResNet({block}, {list(arch.blocks)}, {told})",
        "model.fc = torch.nn.Identity()  # the file holds the trunk alone",
        f"model.load_state_dict({read})",
    ]
    home = "timm.models.resnet" if certified["library"] == "timm" else "torchvision.models.resnet"
    loaded = "\n".join(f"  {line}" for line in (f"from {home} import {block}, ResNet", *lines))
    return f"load it with:\n{loaded}\n  # input: RGB, pixels 0-1, mean {mean}, std {std}"


def _expressed(
    source: Source, meta: dict[str, Any], form: Format
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and ``meta`` as the format's library wants them: RGB, stride in the 3x3."""
    if form.library is None:
        return source.weights, meta
    if meta["stride_in_1x1"] and source.arch.block == "bottleneck":
        raise CheckpointError(
            f"{source.path} has the stride in its 1x1 convolutions (MSRA's models); torchvision's and timm's "
            "ResNets have it in the 3x3 and would compute something else without a word: use --to detectron2"
        )
    weights, meta = dict(source.weights), {**meta, "stride_in_1x1": False}
    if meta["channel_order"] == "BGR":
        weights[_STEM] = weights[_STEM].flip(1).contiguous()
        meta |= {"channel_order": "RGB"} | {k: meta[k][::-1] for k in ("pixel_mean", "pixel_std")}
    return weights, meta


def _read_back(path: Path, weights: Mapping[str, Tensor], meta: dict[str, Any], form: Format) -> Artifact:
    back = sources.read(path, expect="any", convention="torchvision")
    differing = [k for k in weights if not torch.equal(back.weights[k], weights[k])]
    if differing or back.weights.keys() != weights.keys():
        raise CheckpointError(f"the written file does not hold what was given: {differing[:5]}; try again")
    if form.library is not None:
        reference.build(back.arch, back.originals, stride_in_1x1=False, library=form.library)
    return Artifact(path, back.sha256, back.weights, meta, back.arch)


def _certified(source: Source, made: Artifact, form: Format) -> dict[str, Any]:
    certified = {**certificate.certify(source, made), "format": form.name}
    for fate in certified["keys"]:
        if "became" in fate:
            fate["became"] = form.key(fate["became"])
    certified["filled"] = [form.key(k) for k in certified["filled"]]
    order = certified["input"]["channel_order"]
    certified["input_channels_flipped"] = order != source.convention.channel_order
    if form.library is not None:
        certified["library"] = form.library
        del certified["config"]
    return certified
