"""What a trunk's batch norm statistics are worth: trained, folded into the affine, or lost."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wsl_det.errors import CheckpointError, as_words

STATISTICS, FOLDED, INITIAL, NONE = "statistics", "folded", "initial", "none"
# Detectron2's fresh FrozenBN has variance 1 - eps, a file from Caffe2 exactly 1: both are "untouched".
_ONE = 2e-5
_SHOWN = 6


def missing(weights: Mapping[str, Tensor]) -> list[str]:
    """Norms (``res2.0.conv1.norm``) of which the file has weights but no running statistics."""
    norms = sorted(k.removesuffix(".weight") for k in weights if k.endswith(".norm.weight"))
    return [n for n in norms if f"{n}.running_mean" not in weights or f"{n}.running_var" not in weights]


def fill_folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Write out the identity statistics of a file that is known to have them folded into its affine."""
    filled = dict(weights)
    for norm in missing(weights):
        filled[f"{norm}.running_mean"] = torch.zeros_like(weights[f"{norm}.weight"])
        filled[f"{norm}.running_var"] = torch.ones_like(weights[f"{norm}.weight"])
    return filled


def judge(weights: Mapping[str, Tensor], where: str, *, caffe2: bool = False) -> str:
    """``statistics`` or ``folded`` by the values alone; ``num_batches_tracked`` is never asked.

    Means of 0 with variances of 1 in every norm are what folding leaves behind: right while frozen,
    wrong to train. Absent statistics, negative variances, and a mixture of touched and untouched
    norms are refused: Detectron2 would fill the gaps silently and detect badly. ``caffe2``: the file has
    the names of the models that are published without statistics.
    """
    if lost := missing(weights):
        why = "; group norm's has none: its weights have these names and compute something else"
        if caffe2:
            why = ", or pass --bn-folded if it is known that they are folded (the Caffe2 ImageNet models)"
        raise CheckpointError(
            f"{where}: {len(lost)} batch norms have no running statistics ({as_words(lost, _SHOWN)}); "
            f"get the complete file{why}"
        )
    return of_statistics(weights, where)


def of_statistics(weights: Mapping[str, Tensor], where: str) -> str:
    """``judge`` of norms by their running statistics, whatever they are called; ``none`` without any."""
    norms = sorted(k.removesuffix(".running_mean") for k in weights if k.endswith(".running_mean"))
    negative = [n for n in norms if bool((weights[f"{n}.running_var"] < 0).any())]
    if negative:
        raise CheckpointError(f"{where}: negative variance in {as_words(negative, _SHOWN)}; it is damaged")
    untouched = [
        n
        for n in norms
        if not weights[f"{n}.running_mean"].any()
        and bool(((weights[f"{n}.running_var"] - 1).abs() <= _ONE).all())
    ]
    if not untouched:
        return STATISTICS if norms else NONE
    if len(untouched) == len(norms):
        return FOLDED
    raise CheckpointError(
        f"{where}: {len(untouched)} of {len(norms)} batch norms have mean 0 and variance 1 throughout "
        f"({as_words(untouched, _SHOWN)}) while the others are trained; part of the statistics is lost: "
        "get the complete file"
    )
