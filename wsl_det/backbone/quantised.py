"""Product-quantised ResNets ("And the bit goes down", Stock et al. 2020) decoded into torchvision's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsl_det.backbone import arch as arches
from wsl_det.backbone import names, soundness
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError


def decode_file(source: str | Path, output: str | Path) -> dict[str, Tensor]:
    """Decode ``source`` into a plain state dict, float32, and write it to ``output`` (.pth).

    The batch norms of these models are folded: mean 0 and variance 1 are written out, so the trunk is
    right while they are frozen. Raises CheckpointError for anything but a whole quantised ResNet.
    """
    output = Path(output)
    if output.suffix != ".pth":
        raise CheckpointError(f"OUTPUT is {output.name!r}; expected a name that ends in .pth")
    weights = decode(checkpoint.load_weights(source), str(source))
    trunk = {names.to_detectron2(k): tuple(v.shape) for k, v in weights.items() if not k.startswith("fc.")}
    arches.infer(trunk, str(source))
    checkpoint.save(output, weights)
    return weights


def decode(layers: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The state dict of a quantised model: ``layers`` maps a layer's name to its code or its tensors.

    A code is ``centroids`` (K, D), ``assignments`` (N,) and ``n_blocks``: a row of the layer's matrix
    is n_blocks centroids in a row, and the matrix is (out, in * k * k).
    """
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        if not isinstance(layer, Mapping):
            raise CheckpointError(f"{where}: {name!r} is a {type(layer).__name__}; not a quantised model")
        if "centroids" in layer:
            weights[f"{name}.weight"] = _decode_layer(layer, f"{where}: {name}")
        else:
            inside = "fc" if name == "fc_bias" else name
            weights |= {f"{inside}.{leaf}": value for leaf, value in layer.items()}
    if "fc.weight" in weights and "fc.bias" not in weights:
        raise CheckpointError(f"{where}: its classifier has no bias; the file is damaged, copy it again")
    weights = soundness.as_float32(weights, where)
    for norm in [k.removesuffix(".bias") for k in weights if k.endswith(".bias") and k != "fc.bias"]:
        weights[f"{norm}.running_mean"] = torch.zeros_like(weights[f"{norm}.bias"])
        weights[f"{norm}.running_var"] = torch.ones_like(weights[f"{norm}.bias"])
    return weights


def _decode_layer(layer: Mapping[str, Any], where: str) -> Tensor:
    try:
        centroids, assignments = layer["centroids"], layer["assignments"]
        if assignments.is_floating_point() or not assignments.is_contiguous():
            raise ValueError(f"assignments are {assignments.dtype} with strides {assignments.stride()}")
        assignments = assignments.long()
        blocks, kernel, is_conv = int(layer["n_blocks"]), int(layer["k"]), bool(layer["is_conv"])
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{where} has no whole code ({type(error).__name__}: {error})") from None
    soundness.as_float32({"centroids": centroids}, where)
    if centroids.ndim != 2 or assignments.ndim != 1 or blocks < 1 or kernel < 1 or len(assignments) % blocks:
        raise CheckpointError(f"{where}: {len(assignments)} assignments do not make rows of {blocks} blocks")
    if len(assignments) and not 0 <= int(assignments.min()) <= int(assignments.max()) < len(centroids):
        raise CheckpointError(f"{where}: an assignment points outside the {len(centroids)} centroids")
    # Blocks are stored block by block, each for all rows: (blocks, out, D) -> (out, blocks * D).
    matrix = centroids[assignments].unflatten(0, (blocks, -1)).transpose(0, 1).flatten(1)
    if not is_conv:
        return matrix.contiguous()
    if matrix.shape[1] % kernel**2:
        raise CheckpointError(f"{where}: rows of {matrix.shape[1]} numbers are no {kernel}x{kernel} kernels")
    return matrix.reshape(matrix.shape[0], -1, kernel, kernel).contiguous()
