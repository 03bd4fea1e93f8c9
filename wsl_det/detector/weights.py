"""What a detector starts from: random numbers, a backbone, or a detector. All of it fits, or nothing runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import torch
from torch import Tensor, nn

from wsl_det.backbone import artifact, pickles, transfer
from wsl_det.core import checkpoint, files
from wsl_det.core.config import Config
from wsl_det.detector import initial, trunks
from wsl_det.errors import CheckpointError, ConfigError

TRUNK = transfer.TRUNK


@dataclass(frozen=True)
class Start:
    """What was loaded: "random", "backbone" or "detector", from which file, with which ancestry.

    backbone: the ancestry of the trunk's artifact, or None; categories: [{"id", "name"}] that a
    detector was trained on, or None when its file does not say.
    """

    kind: str
    path: str | None = None
    sha256: str | None = None
    backbone: dict[str, Any] | None = None
    categories: Sequence[Mapping[str, Any]] | None = None

    @property
    def class_names(self) -> list[str]:
        """The names in ``categories``, in class order."""
        return [category["name"] for category in self.categories or ()]

    def __str__(self) -> str:
        return "random numbers" if self.kind == "random" else f"{self.kind} {self.path}"


def check(cfg: Config, config_file: Path | None = None) -> None:
    """Refuse at once what ``load`` would refuse after the data were read.

    An absent file (with the commands that make it, when the head of the config names them), and
    random numbers that would stay as they are: frozen batch norm or frozen stages.
    """
    name = cfg.MODEL.WEIGHTS
    if not name:
        _check_random(cfg)
    elif "://" in name:
        raise ConfigError(
            f"MODEL.WEIGHTS is {name}; give a file (zoo:// names work on the command lines of the tools)"
        )
    elif not Path(name).is_file():
        raise ConfigError(f"MODEL.WEIGHTS {name} does not exist{_how_to_make(name, config_file)}")


def load(model: nn.Module, cfg: Config, seed: int) -> Start:
    """Fill ``model``: every weight drawn from ``seed``, then what MODEL.WEIGHTS holds on top.

    A backbone artifact sets the whole trunk and must agree with the config; a detector checkpoint
    must hold exactly the model's keys and shapes. Raises CheckpointError naming the differences.
    """
    initial.draw(model, seed)
    name = cfg.MODEL.WEIGHTS
    if not name:
        _check_random(cfg)
        return Start("random")
    payload = read(name)
    if artifact.looks_like(payload):
        return _backbone(model, cfg, payload, Path(name))
    fill(model, payload, name)
    return from_header(payload, name)


def fill(model: nn.Module, payload: Mapping[str, Any], path: str) -> None:
    """Put the weights of a detector's file into ``model``, which they must fit exactly."""
    if artifact.looks_like(payload):
        raise CheckpointError(
            f"{path} is a backbone; a detector is needed here, such as model_final.pth of a training run"
        )
    weights = tensors(payload, path)
    try:
        checkpoint.load_exactly(model, weights, f"detector weights {path}")
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_other_classes(model, weights, path)}") from None


def _other_classes(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> str:
    """What to do about a detector whose layers all fit but those of the classes; else nothing."""
    own = model.state_dict()
    unlike = {k for k in own.keys() | weights.keys() if k not in own or k not in weights}
    unlike |= {k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape}
    if not all(".box_predictor." in k or ".mask_head.predictor." in k for k in unlike):
        return ""
    return (
        "\nOnly the layers of the classes differ: it was trained on another number of classes than "
        "MODEL.ROI_HEADS.NUM_CLASSES. To go on from it with other classes, start from its trunk:\n"
        f"  wsl-det export_backbone {name} weights/trunk.pth\n  MODEL.WEIGHTS weights/trunk.pth"
    )


def detector(model: nn.Module, path: str) -> Start:
    """Fill ``model`` from a detector checkpoint, ours or Detectron2's; a backbone alone is refused."""
    payload = read(path)
    fill(model, payload, path)
    return from_header(payload, path)


def read(path: str) -> dict[str, Any]:
    """What a weights file holds, without executing anything in it; ``.pkl`` is Detectron2's zoo."""
    return pickles.read(path) if path.endswith(".pkl") else checkpoint.load_weights(path)


def tensors(payload: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """The state dict in a loaded file; CheckpointError when it is not a detector's."""
    model = payload.get("model", payload)
    if not isinstance(model, Mapping) or not any(str(k).startswith(TRUNK) for k in model):
        raise CheckpointError(
            f"{path} holds neither a backbone artifact nor a detector; if it is pretrained weights, "
            f"convert them: wsl-det export_backbone {path} OUTPUT.pth"
        )
    kept = {k: v for k, v in model.items() if not _computed(k)}
    return {k: v if isinstance(v, Tensor) else torch.as_tensor(v) for k, v in kept.items()}


def _computed(key: str) -> bool:
    """Whether a key of an old Detectron2 checkpoint is no weight: newer ones compute it from the config."""
    return key in ("pixel_mean", "pixel_std") or "anchor_generator.cell_anchors" in key


class _Category(TypedDict):
    id: int
    name: str


class _Header(msgspec.Struct):
    """What is read of what a checkpoint says about itself; Detectron2's say nothing."""

    backbone: dict[str, Any] | None = None
    categories: list[_Category] | None = None


def from_header(payload: Mapping[str, Any], path: str) -> Start:
    """What a detector checkpoint says about itself; CheckpointError when that cannot be."""
    try:
        told = msgspec.convert(payload.get("wsl_det", {}), _Header)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: what it says of itself is damaged ({error}); copy it again") from None
    return Start("detector", path, files.sha256(path), told.backbone, told.categories)


def _backbone(model: nn.Module, cfg: Config, payload: Mapping[str, Any], path: Path) -> Start:
    found = artifact.from_payload(payload, path)
    pixels: dict[str, Any] = {"channel_order": cfg.INPUT.FORMAT}
    pixels |= {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
    if trunks.is_timm(cfg):
        timm, frozen = cfg.MODEL.TIMM, trunks.frozen_norm(cfg)
        ancestry = transfer.into_timm(
            model, found, **pixels, name=timm.NAME, frozen_norm=frozen, freeze_at=timm.FREEZE_AT
        )
    else:
        ancestry = transfer.into(
            model,
            found,
            **pixels,
            stride_in_1x1=cfg.MODEL.RESNETS.STRIDE_IN_1X1,
            norm=cfg.MODEL.RESNETS.NORM,
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        )
    return Start("backbone", str(path), found.sha256, ancestry)


def _check_random(cfg: Config) -> None:
    if trunks.is_timm(cfg):
        if cfg.MODEL.TIMM.FREEZE_AT or trunks.frozen_norm(cfg):
            raise ConfigError(
                "MODEL.WEIGHTS is empty and MODEL.TIMM freezes layers or norms that nothing has trained; set "
                "MODEL.TIMM.FREEZE_AT 0 and FREEZE_NORM auto"
            )
        return
    norm, frozen = cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT
    if norm == "FrozenBN":
        raise ConfigError(
            "MODEL.WEIGHTS is empty and MODEL.RESNETS.NORM is FrozenBN: frozen statistics that nothing "
            "loaded are no normalisation; train from scratch with NORM BN or GN and FREEZE_AT 0 (see "
            "configs/*_scratch.yaml)"
        )
    if frozen > 0:
        raise ConfigError(
            f"MODEL.WEIGHTS is empty and MODEL.BACKBONE.FREEZE_AT is {frozen}: random stages would stay "
            "random; set MODEL.BACKBONE.FREEZE_AT 0 (see configs/*_scratch.yaml)"
        )


def _how_to_make(name: str, config_file: Path | None) -> str:
    head = _commands_in_head(config_file) if config_file is not None else []
    if any(name in line for line in head):
        return "; make it with:\n  " + "\n  ".join(head)
    return (
        "; make it with:\n  wsl-det download_model NAME --dest weights     (wsl-det download_model --list)\n"
        f"  wsl-det export_backbone SOURCE {name}"
    )


def _commands_in_head(config_file: Path) -> list[str]:
    """The commands at the top of a config that download, or pretrain, and export its weights."""
    made = tuple(f"wsl-det {name}" for name in ("download_model", "pretrain_net", "export_backbone"))
    found = []
    for line in config_file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        # tools/ is a checkout's; the installed command is there beside it.
        words = re.sub(r"^(?:python )?tools/(\w+)\.py", r"wsl-det \1", line.lstrip("# ").rstrip())
        if words.startswith(made):
            found.append(words)
    return found
