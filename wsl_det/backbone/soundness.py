"""Files from elsewhere are asked, before they are used, whether it is safe to compute with what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wsl_det.errors import CheckpointError, as_lines

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 8


def as_float32(weights: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The tensors as contiguous float32; raises for what no trained trunk holds.

    Refused with their names: values that are no dense CPU tensor of a floating type, tensors whose
    shape is larger than their storage, NaN and infinity.
    """
    odd = [f"{k}: {why}" for k, v in weights.items() if (why := _oddity(v))]
    if odd:
        raise CheckpointError(f"{where} holds values that are no weights:{as_lines(odd, _SHOWN)}")
    cast = {k: v.detach().to(torch.float32).contiguous() for k, v in weights.items()}
    lost = {k: int((~v.isfinite()).sum()) for k, v in cast.items()}
    wild = [f"{k}: {lost[k]} of {v.numel()} values" for k, v in cast.items() if lost[k]]
    if wild:
        raise CheckpointError(
            f"{where} holds NaN or infinity:{as_lines(wild, _SHOWN)}\n"
            "the run that made it diverged, or the file is damaged"
        )
    return cast


def _oddity(value: Any) -> str | None:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, expected a tensor"
    if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
        return f"a {value.layout} tensor on {value.device}, expected a dense one"
    if value.dtype not in _FLOATS:
        return f"{str(value.dtype).removeprefix('torch.')}, expected a floating type"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"shape {tuple(value.shape)} on a storage of {value.untyped_storage().nbytes()} bytes"
    return None
