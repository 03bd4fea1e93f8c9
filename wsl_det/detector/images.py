"""Image files -> pixels: upright, their size checked before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsl_det.core import photos
from wsl_det.core.photos import BadImage, upright_size
from wsl_det.errors import ConfigError

__all__ = ["BadImage", "upright_size"]
FORMATS = ("RGB", "BGR")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def check_format(name: str) -> str:
    """INPUT.FORMAT, if it is one that the engines take."""
    if name not in FORMATS:
        raise ConfigError(f"INPUT.FORMAT is {name!r}; expected RGB or BGR")
    return name


def read_image(path: Path, channel_order: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 pixels by the rule of ``core.photos``, in "RGB" or "BGR" order.

    ``size`` is the (height, width) that the annotations speak of; another one is a BadImage, told
    from the header, so that no oversized file is decoded. So is everything that cannot be read.
    """
    with photos.opened(path) as file:
        _check_size(upright_size(file), size)
        pixels = np.asarray(photos.rgb(file))
    return pixels[:, :, ::-1] if channel_order == "BGR" else pixels


def check_header(path: Path, size: tuple[int, int]) -> None:
    """Raise BadImage for what is no image, or whose header says another (height, width) than ``size``."""
    with photos.opened(path) as file:
        _check_size(upright_size(file), size)


def _check_size(found: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is not None and found != expected:
        raise BadImage(
            f"it is {found[1]} x {found[0]} pixels (upright), "
            f"its annotations say {expected[1]} x {expected[0]}"
        )
