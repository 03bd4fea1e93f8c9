"""A backbone artifact into a detector: everything fits and everything agrees, or the run does not start."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsl_det.backbone import arch as arches
from wsl_det.backbone import batch_norm
from wsl_det.backbone.artifact import Artifact
from wsl_det.backbone.timm_models import TimmArchitecture
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError

TRUNK = "backbone.bottom_up."
_BATCH_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN")
_COUNTER = "num_batches_tracked"
_EVERYTHING = 5  # FREEZE_AT that freezes stem and res2..res5


def into(
    model: nn.Module,
    artifact: Artifact,
    *,
    channel_order: str,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    stride_in_1x1: bool,
    norm: str,
    freeze_at: int,
    prefix: str = TRUNK,
) -> dict[str, Any]:
    """Load the trunk under ``prefix`` of ``model`` and return the backbone's ancestry.

    The keyword arguments are the detector's settings (INPUT.FORMAT, MODEL.PIXEL_MEAN and so on). All
    disagreements with the artifact are raised together as one CheckpointError, before anything is
    touched: architecture, channel order, mean, std, stride, norm. Then every trunk tensor of the
    model is set and every tensor of the artifact used; only counters of unfrozen batch norms start
    at 0, since no artifact holds them.
    """
    own = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k.startswith(prefix)}
    shapes = {k: tuple(v.shape) for k, v in own.items() if not k.endswith(_COUNTER)}
    wrong = _settings(artifact, channel_order, stride_in_1x1, norm, freeze_at=freeze_at)
    wrong += _pixels(artifact.meta, pixel_mean, pixel_std)
    if norm in _BATCH_NORMS:
        wrong += _architecture(artifact, shapes)
    if wrong:
        raise CheckpointError(f"backbone {artifact.path} and the config disagree:\n  " + "\n  ".join(wrong))
    fill(model.get_submodule(prefix.removesuffix(".")) if prefix else model, artifact)
    return artifact.ancestry


def into_timm(
    model: nn.Module,
    artifact: Artifact,
    *,
    channel_order: str,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    name: str,
    frozen_norm: bool,
    freeze_at: int,
    prefix: str = TRUNK,
) -> dict[str, Any]:
    """``into`` for a trunk of timm's; ``name``, ``frozen_norm`` and ``freeze_at`` are those of MODEL.TIMM."""
    if not isinstance(artifact.arch, TimmArchitecture):
        raise CheckpointError(
            f"{artifact.path} is a {artifact.arch.name} under Detectron2's names; use MODEL.BACKBONE.NAME "
            "build_resnet_fpn_backbone, or export it for timm's: wsl-det export_backbone ... --arch timm:NAME"
        )
    pixels = (channel_order, pixel_mean, pixel_std)
    wrong = timm_disagreements(artifact.meta, pixels, name, frozen_norm=frozen_norm, freeze_at=freeze_at)
    if wrong:
        raise CheckpointError(f"backbone {artifact.path} and the config disagree:\n  " + "\n  ".join(wrong))
    trunk: Any = model.get_submodule(prefix.removesuffix(".")) if prefix else model
    fill(trunk.model, artifact, trunk.behind())
    return artifact.ancestry


def timm_disagreements(
    meta: Mapping[str, Any],
    pixels: tuple[str, Sequence[float], Sequence[float]],
    name: str,
    *,
    frozen_norm: bool,
    freeze_at: int,
) -> list[str]:
    """What in a detector's settings is not as an artifact of timm's needs it; see ``into_timm``."""
    order, mean, std = pixels
    wrong, bn = _pixels(meta, mean, std), meta["bn"]
    if order != meta["channel_order"]:
        wrong.append(f"INPUT.FORMAT is {order}, the backbone wants {meta['channel_order']}")
    if name != meta["arch"]["timm"]:
        wrong.append(f"MODEL.TIMM.NAME is {name}, the backbone is {meta['arch']['timm']}")
    if bn == batch_norm.INITIAL and freeze_at > 0:
        wrong.append(
            f"MODEL.TIMM.FREEZE_AT is {freeze_at}, but nothing has trained the backbone; set it to 0"
        )
    if bn == batch_norm.INITIAL and frozen_norm:
        wrong.append("MODEL.TIMM.FREEZE_NORM is True, but nothing has trained the backbone; use auto")
    if bn == batch_norm.FOLDED and not frozen_norm:
        wrong.append("MODEL.TIMM.FREEZE_NORM is False, but the backbone's statistics are folded; use auto")
    return wrong


def fill(trunk: nn.Module, artifact: Artifact, unused: Container[str] = ()) -> None:
    """The artifact's weights but those ``unused`` into ``trunk``, each and no other; CheckpointError."""
    own = trunk.state_dict()
    # No artifact holds whole numbers: counters, and tables that the model makes itself.
    kept = {k: torch.zeros_like(v) if k.endswith(_COUNTER) else v for k, v in own.items() if _no_weight(k, v)}
    given = {k: v for k, v in artifact.weights.items() if k not in unused}
    checkpoint.load_exactly(trunk, {**kept, **given}, f"backbone {artifact.path}")


def _no_weight(key: str, value: Tensor) -> bool:
    return key.endswith(_COUNTER) or not value.is_floating_point()


def _settings(
    artifact: Artifact, channel_order: str, stride_in_1x1: bool, norm: str, *, freeze_at: int
) -> list[str]:
    meta, wrong = artifact.meta, []
    if channel_order != meta["channel_order"]:
        wrong.append(f"INPUT.FORMAT is {channel_order}, the backbone was trained on {meta['channel_order']}")
    # A basic block has no 1x1 to carry the stride; Detectron2 ignores the key for it.
    if bool(stride_in_1x1) != meta["stride_in_1x1"] and artifact.resnet.block == "bottleneck":
        wrong.append(
            f"MODEL.RESNETS.STRIDE_IN_1X1 is {stride_in_1x1}, the backbone needs {meta['stride_in_1x1']} "
            "(the shapes are equal, the features are not)"
        )
    if norm not in _BATCH_NORMS:
        wrong.append(f"MODEL.RESNETS.NORM is {norm!r}, the backbone has batch norm; use FrozenBN or BN")
    elif meta["bn"] == batch_norm.FOLDED and norm != "FrozenBN" and freeze_at < _EVERYTHING:
        wrong.append(
            f"MODEL.RESNETS.NORM is {norm}, but the statistics of the backbone are folded into its affine, "
            "so that training them is wrong; use FrozenBN"
        )
    return wrong


def _pixels(meta: Mapping[str, Any], mean: Sequence[float], std: Sequence[float]) -> list[str]:
    wrong = []
    for key, ours in (("pixel_mean", mean), ("pixel_std", std)):
        theirs = meta[key]
        same = len(ours) == len(theirs) and all(
            abs(a - b) <= 1e-4 * max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True)
        )
        if not same:
            wrong.append(f"MODEL.{key.upper()} is {list(ours)}, the backbone was trained with {theirs}")
    return wrong


def _architecture(artifact: Artifact, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    if not shapes:
        return ["the model has no trunk under this prefix"]
    built = arches.infer(shapes, "the model")
    theirs, ours = artifact.resnet.config_keys(), built.config_keys()
    wrong = [
        f"{k} is {ours[k]}, the backbone ({artifact.arch.name}) needs {theirs[k]}"
        for k in ours
        # No DEPTH is that of blocks of one's own; names say these.
        if ours[k] != theirs[k] and None not in (ours[k], theirs[k])
    ]
    if not wrong and built != artifact.arch:
        wrong = [f"the model is a {built.name}, the backbone a {artifact.arch.name}"]
    return wrong
