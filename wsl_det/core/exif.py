"""How a photo was held: EXIF's orientation and the turn that undoes it, one table for both halves.

Pretraining and detection must see the same world: Detectron2's reader turns photos upright, so all
readers here do (EXIF 2.3, table 6).
"""

from __future__ import annotations

import struct

from PIL import Image

TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise on broken or hostile files.
BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    struct.error,
)


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 for a photo that states none, or whose metadata are broken."""
    try:
        value = image.getexif().get(TAG, 1)
    except BROKEN:
        return 1  # the picture may decode all the same; broken metadata turn nothing, as in Detectron2
    return value if isinstance(value, int) and value in _TURNS else 1


def swaps_sides(value: int) -> bool:
    """Whether undoing that orientation exchanges width and height."""
    return value >= 5


def upright(image: Image.Image, value: int) -> Image.Image:
    """The image turned so that orientation ``value`` (1..8) is undone."""
    return image.transpose(_TURNS[value]) if value in _TURNS else image
