"""Image files -> pixels: EXIF rotation applied, sizes checked before anything is decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from wsl_det.errors import ConfigError

FORMATS = ("RGB", "BGR")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_ORIENTATION = 274
# EXIF orientation -> how PIL undoes it (EXIF 2.3, table 6).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
                turn = _UPRIGHT.get(_orientation(file))
                _check_size(upright_size(file), size)
                image = file.convert("RGB")
    except FileNotFoundError:
        raise BadImage("the file does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(str(error).strip().splitlines()[0][:200] or type(error).__name__) from None
    pixels = np.asarray(image if turn is None else image.transpose(turn))
    return pixels[:, :, ::-1] if channel_order == "BGR" else pixels


def upright_size(file: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image after its EXIF rotation."""
    width, height = file.size
    return (width, height) if _orientation(file) >= 5 else (height, width)


def _check_size(found: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is not None and found != expected:
        raise BadImage(
            f"it is {found[1]} x {found[0]} pixels (upright), "
            f"its annotations say {expected[1]} x {expected[0]}"
        )


def _orientation(file: Image.Image) -> int:
    try:
        value = file.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError):
        return 1  # broken metadata turns nothing, as in Detectron2
    return value if value in _UPRIGHT else 1
