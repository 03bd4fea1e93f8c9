"""Images as people have them: found in a folder or a tar, decoded once, made into sound JPEGs."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from PIL import Image, ImageOps

from wsl_det.errors import DataError

# Phones make 108-megapixel photos; a header that promises much more is an attack or a mistake.
MAX_PIXELS = 1 << 27
# Longer than any crop of pretraining needs; photos beyond it are scaled to it (shorter side).
MAX_SHORT_SIDE = 1024
_QUALITY = 95
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112
# What Pillow's readers raise on broken or hostile files.
_BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
_BROKEN_PARTS = (struct.error, zlib.error)


class Rejected(Exception):
    """An image that cannot be used; the text is the reason, short enough to count by."""


class Located(NamedTuple):
    """Where the bytes of an image file lie."""

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes; raises Rejected when there are fewer than promised."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError:
            raise Rejected("unreadable file") from None
        if len(data) < self.size:
            raise Rejected("file shorter than its tar or folder says")
        return data


class Source(Protocol):
    """Where images are looked up by the path a post gives."""

    def locate(self, name: str) -> Located:
        """Where the image lies; raises Rejected when there is none or the path is hostile."""
        ...


class ImageFolder:
    """Images below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        path = self.folder / _clean(name)
        try:
            status = path.stat()
        except (OSError, ValueError):
            raise Rejected("missing file") from None
        if not path.is_file():
            raise Rejected("not a file")
        return Located(str(path), 0, status.st_size)


class ImageTar:
    """Images in a plain tar, found by one pass over its headers; links and special files do not count.

    When every member lies in one top folder, paths may leave that folder out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members = _members(path)
        tops = {PurePosixPath(name).parts[0] for name in self.members}
        self._top = f"{tops.pop()}/" if len(tops) == 1 else ""

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        clean = _clean(name)
        found = self.members.get(clean) or self.members.get(self._top + clean)
        if found is None:
            raise Rejected("missing file")
        return Located(str(self.path), *found)


def open_source(path: str | Path) -> Source:
    """The images in a folder or a tar; raises DataError when it is neither."""
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path)
    if not path.exists():
        raise DataError(f"--images {path} does not exist; give the folder or the tar that holds the images")
    return ImageTar(path)


def to_jpeg(data: bytes, max_short_side: int = MAX_SHORT_SIDE) -> bytes:
    """A JPEG of the image that ``data`` holds: upright, gray or RGB, shorter side <= ``max_short_side``.

    The file is decoded whole, so what passes is sound. A JPEG that is all this already is returned
    unchanged; others are encoded anew (quality 95, transparency on white, first frame only).
    Raises Rejected with the reason.
    """
    if not data:
        raise Rejected("empty file")
    try:
        return _to_jpeg(data, max_short_side)
    except Image.DecompressionBombError:
        raise Rejected("too many pixels") from None
    except Image.UnidentifiedImageError:
        raise Rejected("not an image") from None
    except (*_BROKEN, *_BROKEN_PARTS) as error:
        raise Rejected("truncated image" if "truncated" in str(error) else "broken image") from None


def _to_jpeg(data: bytes, max_short_side: int) -> bytes:
    with warnings.catch_warnings():
        # Pillow's warnings are about metadata and about sizes that MAX_PIXELS judges.
        warnings.simplefilter("ignore")
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Rejected("too many pixels")
        image.load()
        upright = _orientation(image) == 1
        fits = min(image.size) <= max_short_side
        if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and upright and fits:
            return data
        image = _flat(image if upright else ImageOps.exif_transpose(image))
        if not fits:
            scale = max_short_side / min(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=_QUALITY)
    return packed.getvalue()


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (*_BROKEN, *_BROKEN_PARTS):
        return 1  # the picture decodes; its metadata do not
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L"):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        raise Rejected("more than 8 bits a channel")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _clean(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Rejected("path leaves the image folder")
    return str(path)


def _members(path: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        # "r:" takes plain tars only: a compressed one has no random access.
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    found[str(PurePosixPath(member.name))] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(
            f"--images {path} is no whole, uncompressed tar ({error}); give a folder or a plain .tar"
        ) from None
    if not found:
        raise DataError(f"--images {path} holds no files")
    return found
