"""What a photo is, by one rule for training, prediction, pretraining, duplicates and transfer.

Photos are upright by their EXIF orientation, as Detectron2's reader turns them, with 8 bits a channel,
and transparency lies on white. Deeper ones are refused: brightness of 16 or 32 bits (depth, heat,
X-rays) has no range that all of them share, and cut at 255 they turn white or black. Colour PNG and
TIFF of 16 bits are read by the high byte, as every decoder does. Names that other files give must stay
in the folder of photos.
"""

from __future__ import annotations

import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from PIL import Image, ImageOps

from wsl_det.core import foreign

TAG = 0x0112
# What Pillow's readers raise on broken or hostile files.
_BROKEN = (
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
    zlib.error,
)
# Frame headers of a JPEG: C0..CF less DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# An EXIF entry that says 1: type SHORT, one of them, its value; (number, bytes) each.
_ONE = ((3, 2), (1, 4), (1, 2))
_KINDS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what)
    for pattern, what in (
        (rb"....ftyp.{0,24}(avif|avis)", "AVIF: save it as JPEG or PNG"),
        (
            rb"....ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)",
            "HEIC: save it as JPEG (heif-convert does)",
        ),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL: save it as JPEG or PNG"),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "JPEG 2000: save it as JPEG or PNG"),
    )
)


class BadImage(Exception):
    """An image file that cannot be used; the text is the reason, short enough to count by."""


@contextmanager
def opened(
    file: Path | BinaryIO, formats: tuple[str, ...] | None = None, *, max_pixels: int = 1 << 28
) -> Iterator[Image.Image]:
    """An image for the time of a block; whatever Pillow cannot read there becomes BadImage."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd metadata and large pictures; what matters here raises.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as image:
                if image.width * image.height > max_pixels:
                    raise BadImage("too many pixels")
                yield image
    except FileNotFoundError:
        raise BadImage("the file does not exist") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Image.UnidentifiedImageError:
        raise BadImage(unread(_head(file))) from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno:
            raise BadImage(f"unreadable file ({error.strerror})") from None
        raise BadImage("truncated image" if "truncated" in str(error) else "broken image") from None


def _head(file: Path | BinaryIO) -> bytes:
    if isinstance(file, Path):
        with open(file, "rb") as opened_again:
            return opened_again.read(1 << 16)
    file.seek(0)
    return file.read(1 << 16)


def unread(data: bytes) -> str:
    """Why the bytes of a file are no image to us, with a remedy where its kind is known."""
    if not data:
        return "empty file"
    if (info := jpeg_info(data)) and info.bits != 8:
        return f"a JPEG of {info.bits} bits: save it with 8"
    if found := foreign.instead(data):
        return f"not an image but {found[0]}: {found[1]}"
    return next((what for pattern, what in _KINDS if pattern.match(data)), "not an image")


class JpegInfo(NamedTuple):
    """What a JPEG's header says before anything is decoded."""

    width: int
    height: int
    oriented: bool  # its EXIF block may ask for the decoded photo to be turned
    bits: int = 8  # of a sample


def jpeg_info(data: bytes) -> JpegInfo | None:
    """Size, and whether EXIF may turn the photo, from the header alone; None for what is not a plain JPEG."""
    if data[:2] != b"\xff\xd8":
        return None
    place, oriented = 2, False
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return JpegInfo(width, height, oriented, data[place + 4])
        if marker == 0xE1 and data[place + 4 : place + 8] == b"Exif":
            oriented |= not _upright(data[place + 10 : place + 2 + length])
        place += 2 + length
    return None


def _upright(tiff: bytes) -> bool:
    """Whether an EXIF block surely turns nothing: its first directory has orientation 1, or none."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    first = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[first : first + 2], order)
    if tiff[:2] not in (b"II", b"MM") or entries < 1 or first + 2 + 12 * entries > len(tiff):
        return False  # not understood: let the decoder judge
    for place in range(first + 2, first + 2 + 12 * entries, 12):
        if int.from_bytes(tiff[place : place + 2], order) == TAG:
            return tiff[place + 2 : place + 10] == b"".join(n.to_bytes(k, order) for n, k in _ONE)
    return True


def check_depth(image: Image.Image) -> None:
    """Raise BadImage for an opened image of more than 8 bits a channel."""
    if image.mode.startswith("I") or image.mode == "F":
        raise BadImage(f"more than 8 bits a channel ({image.mode}): scale it to 8 by the range that matters")


def flat(image: Image.Image) -> Image.Image:
    """The picture as gray or RGB of 8 bits, transparency on white; BadImage for deeper ones."""
    check_depth(image)
    image.load()
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 for a photo that states none, or whose metadata are broken."""
    try:
        value = image.getexif().get(TAG, 1)
    except _BROKEN:
        return 1  # the picture may decode all the same; broken metadata turn nothing, as in Detectron2
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image once its orientation is undone."""
    width, height = image.size
    return (width, height) if orientation(image) >= 5 else (height, width)


def upright(image: Image.Image, value: int) -> Image.Image:
    """The image turned so that orientation ``value`` (1..8) is undone; its metadata are gone."""
    if value == 1:
        return image
    bare = image.copy()
    bare.info = {}
    bare.getexif()[TAG] = value
    return ImageOps.exif_transpose(bare)


def rgb(image: Image.Image) -> Image.Image:
    """An opened image as ``flat`` has it, upright and in RGB."""
    turn = orientation(image)
    return upright(flat(image), turn).convert("RGB")


def relative(name: str) -> PurePosixPath:
    """The path that a foreign file's ``name`` means; BadImage for one that may lead anywhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise BadImage("path leaves the image folder")
    return path


def below(folder: Path, name: str) -> Path:
    """The file that another file's ``name`` means in ``folder``; BadImage for one that leads out of it."""
    place = folder / relative(name)
    # Only the last part is looked at for every photo; folders are remembered.
    nearest = place.parent if place != folder else folder
    inside = _real(str(nearest)) if not place.is_symlink() else os.path.realpath(place)
    root = _real(str(folder))
    if inside != root and not inside.startswith(root.rstrip("/") + "/"):
        raise BadImage("path leaves the image folder by a link: copy the file into it")
    return place


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
