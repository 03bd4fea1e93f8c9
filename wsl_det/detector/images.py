"""Image files -> pixels: upright, their size checked before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsl_det.core import photos
from wsl_det.core.photos import BadImage

__all__ = ["BadImage"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_image(path: Path, channel_order: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 pixels by the rule of ``core.photos``, in "RGB" or "BGR" order.

    ``size`` is the (height, width) that the annotations speak of; another one is a BadImage, told
    from the header, so that no oversized file is decoded. So is everything that cannot be read.
    """
    with photos.opened(path) as file:
        _check_size(photos.upright_size(file), size)
        pixels = np.asarray(photos.rgb(file))
    return pixels[:, :, ::-1] if channel_order == "BGR" else pixels


def header_size(path: Path, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(height, width) from the header alone; BadImage for what ``read_image`` would refuse by it."""
    with photos.opened(path) as file:
        found = photos.upright_size(file)
        _check_size(found, size)
        photos.check_depth(file)
    return found


def _check_size(found: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is not None and found != expected:
        raise BadImage(
            f"it is {found[1]} x {found[0]} pixels (upright), "
            f"its annotations say {expected[1]} x {expected[0]}"
        )
