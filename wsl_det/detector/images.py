"""Image files -> pixels: EXIF rotation applied, sizes checked before anything is decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from wsl_det.core import exif
from wsl_det.errors import ConfigError

FORMATS = ("RGB", "BGR")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class BadImage(Exception):
    """A file that is missing, not an image, cut off, or not the size its annotations say."""


def check_format(name: str) -> str:
    """INPUT.FORMAT, if it is one that the engines take."""
    if name not in FORMATS:
        raise ConfigError(f"INPUT.FORMAT is {name!r}; expected RGB or BGR")
    return name


def read_image(path: Path, channel_order: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 pixels, upright, in "RGB" or "BGR" order.

    ``size`` is the (height, width) that the annotations speak of; another one is a BadImage, told
    from the header, so that no oversized file is decoded. So is everything PIL cannot read.
    """
    try:
        with warnings.catch_warnings():
            # PIL warns about odd metadata and large pictures; what matters here raises.
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                _check_size(upright_size(file), size)
                image = exif.upright(file.convert("RGB"), exif.orientation(file))
    except FileNotFoundError:
        raise BadImage("the file does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(str(error).strip().splitlines()[0][:200] or type(error).__name__) from None
    pixels = np.asarray(image)
    return pixels[:, :, ::-1] if channel_order == "BGR" else pixels


def upright_size(file: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image after its EXIF rotation."""
    width, height = file.size
    return (width, height) if exif.swaps_sides(exif.orientation(file)) else (height, width)


def _check_size(found: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is not None and found != expected:
        raise BadImage(
            f"it is {found[1]} x {found[0]} pixels (upright), "
            f"its annotations say {expected[1]} x {expected[0]}"
        )
