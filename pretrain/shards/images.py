"""Images as people have them: found in a folder or a tar, decoded once, made into sound JPEGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from PIL import Image

from pretrain.shards import tars
from wsl_det.core import addresses, photos, stores
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError

# Phones make 108-megapixel photos; a header that promises much more is an attack or a mistake.
MAX_PIXELS = 1 << 27
# Longer than any crop of pretraining needs; photos beyond it are scaled to it (shorter side).
MAX_SHORT_SIDE = 1024
_QUALITY = 95
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_MISSING = "missing file"
_URL = ("http://", "https://")


class Located(NamedTuple):
    """Where the bytes of an image file lie.

    ``orientation`` (EXIF's 1..8) is what a downloader noted of a photo whose file no longer says it.
    """

    path: str
    offset: int
    size: int
    orientation: int = 1

    def read(self) -> bytes:
        """The bytes; raises BadImage when there are fewer than promised."""
        try:
            if addresses.is_address(self.path):
                data = stores.read(self.path, self.offset, self.offset + self.size)
            else:
                with open(self.path, "rb") as file:
                    file.seek(self.offset)
                    data = file.read(self.size)
        except (OSError, stores.Broken, stores.Gone, stores.Refused):
            raise BadImage("unreadable file") from None
        if len(data) < self.size:
            raise BadImage("file shorter than its tar or folder says")
        return data


class Source(Protocol):
    """Where images are looked up by the path a post gives."""

    refused: dict[str, str]  # members of tars that are not looked at, with the reason

    def locate(self, name: str) -> Located:
        """Where the image lies; raises BadImage when there is none or the path is hostile."""
        ...


class ImageFolder:
    """Images below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.refused: dict[str, str] = {}

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        _not_url(name)
        try:
            path = photos.below(self.folder, name)
            status = path.stat()
        except (OSError, ValueError):
            raise BadImage(_MISSING) from None
        if not path.is_file():
            raise BadImage("not a file")
        return Located(str(path.absolute()), 0, status.st_size)


class ImageStore:
    """Images below an address: by one listing, or, where the store lists none (https), by asking for each."""

    def __init__(self, address: str) -> None:
        self.address = addresses.text(address).rstrip("/")
        self.refused: dict[str, str] = {}
        self.listed = None if self.address.startswith("http") else stores.listed(self.address)

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        _not_url(name)
        clean = str(photos.relative(name))
        where = f"{self.address}/{clean}"
        if self.listed is not None:
            if clean not in self.listed:
                raise BadImage(_MISSING)
            return Located(where, 0, self.listed[clean].size)
        try:
            return Located(where, 0, stores.info(where).size)
        except (stores.Gone, stores.Refused):  # many stores refuse what is not there
            raise BadImage(_MISSING) from None


class ImageTar:
    """Images in a plain tar, found by one pass over its headers; links and special files do not count.

    When every member lies in one top folder, paths may leave that folder out.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path) if addresses.is_address(path) else str(Path(path).absolute())
        found, self.refused = tars.contents(path)
        # As when it is unpacked, the later of two members of one name is the file.
        self.members = {member.name: member for member in found}
        if not self.members:
            raise DataError(f"--images {path} holds no files")
        tops = {PurePosixPath(name).parts[0] for name in self.members}
        self._top = f"{tops.pop()}/" if len(tops) == 1 else ""

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        _not_url(name)
        clean = str(photos.relative(name))
        for full in (clean, self._top + clean):
            if full in self.members:
                return Located(self.path, self.members[full].offset, self.members[full].size)
            if full in self.refused:
                raise BadImage(self.refused[full])
        raise BadImage(_MISSING)


class ImageSources:
    """Images in several folders and tars; the first that has one gives it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.refused = {name: why for source in sources for name, why in source.refused.items()}

    def locate(self, name: str) -> Located:
        """See ``Source``."""
        for source in self.sources[:-1]:
            try:
                return source.locate(name)
            except BadImage as rejected:
                if str(rejected) != _MISSING:
                    raise
        return self.sources[-1].locate(name)


def open_source(paths: str | Path | Sequence[str | Path]) -> Source:
    """The images in folders and tars (globs are expanded); raises DataError for what is neither."""
    names = [paths] if isinstance(paths, str | Path) else paths
    sources: list[Source] = []
    for path in (path for name in names for path in expand(name)):
        if isinstance(path, str):
            sources.append(ImageTar(path) if path.partition("?")[0].endswith(".tar") else ImageStore(path))
            continue
        if not path.exists():
            raise DataError(
                f"--images {path} does not exist; give the folder or the tar that holds the images"
            )
        sources.append(ImageFolder(path) if path.is_dir() else ImageTar(path))
    return sources[0] if len(sources) == 1 else ImageSources(sources)


def expand(pattern: str | Path) -> list[str | Path]:
    """The paths or addresses that a name or a glob stands for, sorted; a name stands for itself."""
    found = addresses.matching(addresses.text(pattern))
    if not found:
        raise DataError(f"nothing matches {pattern}")
    return [path if addresses.is_address(path) else Path(path) for path in found]


def to_jpeg(data: bytes, max_short_side: int = MAX_SHORT_SIDE, orientation: int = 1) -> bytes:
    """A JPEG of the image that ``data`` holds: upright, gray or RGB, shorter side <= ``max_short_side``.

    The file is decoded whole, so what passes is sound. A JPEG that is all this already is returned
    unchanged; others are encoded anew (quality 95, transparency on white, first frame only).
    ``orientation`` (EXIF's 1..8) turns a photo whose own file does not say how it was held.
    Raises BadImage with the reason.
    """
    with photos.opened(io.BytesIO(data), FORMATS, max_pixels=MAX_PIXELS) as image:
        image.load()
        return _to_jpeg(data, image, max_short_side, orientation)


def as_jpeg(data: bytes) -> bytes:
    """A JPEG as it is, any other file by the rule of the shards, so that both are read alike."""
    return data if data.startswith(b"\xff\xd8") else to_jpeg(data)


def check(data: bytes) -> None:
    """Raise BadImage for what training cannot read as it lies: broken, or in need of ``to_jpeg``.

    JPEG, PNG and WebP pass, gray or RGB with 8 bits a channel; the reader turns a photo by its EXIF.
    """
    with photos.opened(io.BytesIO(data), FORMATS, max_pixels=MAX_PIXELS) as image:
        image.load()
        if image.format not in ("JPEG", "MPO", "PNG", "WEBP"):
            raise BadImage("not JPEG, PNG or WebP: build_shards would rewrite it")
        if photos.flat(image).mode != image.mode or image.has_transparency_data:
            raise BadImage("not gray or RGB of 8 bits: build_shards would rewrite it")


def orientation(data: bytes) -> int:
    """EXIF orientation, 1..8, that an image file states of itself; 1 when it states none."""
    with photos.opened(io.BytesIO(data), FORMATS, max_pixels=MAX_PIXELS) as image:
        return photos.orientation(image)


def _to_jpeg(data: bytes, image: Image.Image, max_short_side: int, orientation: int) -> bytes:
    own = photos.orientation(image)
    turn = own if own != 1 else orientation
    fits = min(image.size) <= max_short_side
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and turn == 1 and fits:
        return data
    flat = photos.upright(photos.flat(image), turn)
    if not fits:
        scale = max_short_side / min(flat.size)
        size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
        flat = flat.resize(size, Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    flat.save(packed, "JPEG", quality=_QUALITY)
    return packed.getvalue()


def _not_url(name: str) -> None:
    if name.lower().startswith(_URL):
        raise BadImage("a URL, not a file: download it first (wsl-det write_urls)")
