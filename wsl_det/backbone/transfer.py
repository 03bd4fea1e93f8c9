"""A backbone artifact into a detector: everything fits and everything agrees, or the run does not start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from wsl_det.backbone import arch as arches
from wsl_det.backbone import batch_norm
from wsl_det.backbone.artifact import Artifact
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError

TRUNK = "backbone.bottom_up."
_BATCH_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN")
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
    counters = {k: torch.zeros_like(v) for k, v in own.items() if k.endswith("num_batches_tracked")}
    wrong = _settings(artifact, channel_order, stride_in_1x1, norm, freeze_at=freeze_at)
    wrong += _pixels(artifact, pixel_mean, pixel_std)
    if norm in _BATCH_NORMS:
        wrong += _architecture(artifact, {k: tuple(v.shape) for k, v in own.items() if k not in counters})
    if wrong:
        raise CheckpointError(f"backbone {artifact.path} and the config disagree:\n  " + "\n  ".join(wrong))
    trunk = model.get_submodule(prefix.removesuffix(".")) if prefix else model
    checkpoint.load_exactly(trunk, {**artifact.weights, **counters}, f"backbone {artifact.path}")
    return artifact.ancestry


def _settings(
    artifact: Artifact, channel_order: str, stride_in_1x1: bool, norm: str, *, freeze_at: int
) -> list[str]:
    meta, wrong = artifact.meta, []
    if channel_order != meta["channel_order"]:
        wrong.append(f"INPUT.FORMAT is {channel_order}, the backbone was trained on {meta['channel_order']}")
    # A basic block has no 1x1 to carry the stride; Detectron2 ignores the key for it.
    if bool(stride_in_1x1) != meta["stride_in_1x1"] and artifact.arch.block == "bottleneck":
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


def _pixels(artifact: Artifact, mean: Sequence[float], std: Sequence[float]) -> list[str]:
    wrong = []
    for key, ours in (("pixel_mean", mean), ("pixel_std", std)):
        theirs = artifact.meta[key]
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
    theirs, ours = artifact.arch.config_keys(), built.config_keys()
    wrong = [
        f"{k} is {ours[k]}, the backbone ({artifact.arch.name}) needs {theirs[k]}"
        for k in ours
        # No DEPTH is that of blocks of one's own; names say these.
        if ours[k] != theirs[k] and None not in (ours[k], theirs[k])
    ]
    if not wrong and built != artifact.arch:
        wrong = [f"the model is a {built.name}, the backbone a {artifact.arch.name}"]
    return wrong
