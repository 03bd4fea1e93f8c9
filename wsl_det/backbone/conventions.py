"""How pixels enter a trunk: channel order, mean and deviation, and where its stride sits.

None of it is written in the weights, so it is named, recorded, and proved against the source model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from wsl_det.errors import CheckpointError


@dataclass(frozen=True)
class Convention:
    """``pixel_mean`` and ``pixel_std`` are for pixels 0-255, in ``channel_order``."""

    name: str
    channel_order: str
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    stride_in_1x1: bool

    def to_meta(self) -> dict[str, Any]:
        """Plain values, as an artifact's ``meta`` holds them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if k != "name"}


# torchvision, timm and WSL: (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) of pixels 0-1, times 255 exactly.
TORCHVISION = Convention("torchvision", "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)
# Detectron2's defaults, for its MSRA/R-50 and R-101.
MSRA = Convention("msra", "BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)
# mask_rcnn_X_101_32x8d_FPN_3x.yaml, for FAIR/X-101-32x8d with its batch norm not folded.
FAIR = Convention("fair", "BGR", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), False)
# Detectron's own ResNeXts, statistics folded: Detectron2's catalog.py says "PIXEL_STD=[1,1,1]" of them all.
CAFFE2 = Convention("caffe2", "BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), False)

KNOWN = {c.name: c for c in (TORCHVISION, MSRA, FAIR, CAFFE2)}


ASSUMED = "assumed torchvision (not proven by the file)"
"""Where the convention comes from when a file has torchvision's names and nothing speaks against it."""


def from_meta(meta: Mapping[str, Any], where: str) -> Convention:
    """The convention written in a run's header or an artifact's ``meta``; CheckpointError if incomplete."""
    try:
        order, stride = meta["channel_order"], meta["stride_in_1x1"]
        mean, std = _triple(meta["pixel_mean"]), _triple(meta["pixel_std"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{where} does not say how its pixels enter ({type(error).__name__}: {error}); "
            "pass --convention to say it"
        ) from None
    sound = all(map(isfinite, (*mean, *std))) and min(std) > 0
    if order not in ("RGB", "BGR") or not isinstance(stride, bool) or not sound:
        raise CheckpointError(
            f"{where}: channel order {order!r}, stride_in_1x1 {stride!r}, mean {mean} and std {std} make no "
            "sense; pass --convention to say it"
        )
    return Convention("own", order, mean, std, stride)


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) if isinstance(v, int | float) else float("nan") for v in values)
    return red, green, blue
