"""Decoding only the part of a JPEG that a crop needs, by libjpeg-turbo 3 where it is installed.

Entropy decoding still passes over the whole file; what is saved is the transform, upsampling and
colour conversion of pixels that nobody looks at. The pixels equal those of decoding the photo whole
(``cv2.imdecode``), bit for bit: the region is decoded with a margin, because chroma is interpolated
over its edges, and ``agrees`` compares both ways before a run relies on it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import threading
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsl_det.errors import ConfigError

Pixels = NDArray[np.uint8]

REMEDY = "pip install turbojpeg, which brings it, or install libjpeg-turbo 3 (libturbojpeg) itself"

# Numbers of libjpeg-turbo's interface (turbojpeg.h).
_DECOMPRESS, _WIDTH, _HEIGHT, _BGR = 1, 5, 6, 1
# Interpolated chroma looks one sample beyond the box, which is two pixels; regions begin at whole blocks
# of the widest subsampling.
_MARGIN, _BLOCK = 4, 32


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


class _Scale(ctypes.Structure):
    _fields_ = (("num", ctypes.c_int), ("denom", ctypes.c_int))


class RegionDecoder:
    """libturbojpeg behind one call; threads may share it, each has its own handle."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._turbo = library
        self._local = threading.local()

    def decode(self, data: bytes, box: tuple[int, int, int, int], reduction: int = 1) -> Pixels | None:
        """Pixels (height, width, 3) BGR of a box (x, y, width, height) of the photo.

        ``reduction`` (1, 2, 4, 8) makes the photo that much smaller first; the box is in pixels of
        the smaller one. None for whatever the library complains of, a warning included: the caller
        then decodes the photo whole, and names what is wrong with it.
        """
        pixels = self._decode(self._handle(), data, box, reduction)
        if pixels is None:
            # After an error a handle may refuse sound photos too (seen with 3.0.0).
            del self._local.holder
        return pixels

    def _decode(
        self, handle: ctypes.c_void_p, data: bytes, box: tuple[int, int, int, int], reduction: int
    ) -> Pixels | None:
        turbo, (x, y, width, height) = self._turbo, box
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
        if turbo.tj3DecompressHeader(handle, address, len(data)):
            return None
        if turbo.tj3SetScalingFactor(handle, _Scale(1, reduction)):
            return None
        whole_width = -(-turbo.tj3Get(handle, _WIDTH) // reduction)
        whole_height = -(-turbo.tj3Get(handle, _HEIGHT) // reduction)
        left, top = max(0, x - _MARGIN) // _BLOCK * _BLOCK, max(0, y - _MARGIN)
        right, bottom = min(whole_width, x + width + _MARGIN), min(whole_height, y + height + _MARGIN)
        if not (0 <= x < x + width <= right and 0 <= y < y + height <= bottom):
            return None
        if turbo.tj3SetCroppingRegion(handle, _Region(left, top, right - left, bottom - top)):
            return None
        pixels = np.empty((bottom - top, right - left, 3), dtype=np.uint8)
        if turbo.tj3Decompress8(handle, address, len(data), pixels.ctypes.data, 0, _BGR):
            return None
        return pixels[y - top : y - top + height, x - left : x - left + width]

    def _handle(self) -> ctypes.c_void_p:
        holder = getattr(self._local, "holder", None)
        if holder is None:
            holder = self._local.holder = _Handle(self._turbo)
        return holder.value

    def __reduce__(self) -> Any:
        return (find, ())


class _Handle:
    """A decompressor of the library; freed with the thread that made it."""

    def __init__(self, turbo: ctypes.CDLL) -> None:
        self._destroy = turbo.tj3Destroy
        self.value = ctypes.c_void_p(turbo.tj3Init(_DECOMPRESS))
        if not self.value:
            raise MemoryError("libturbojpeg gives no decompressor")

    def __del__(self) -> None:
        if self.value:
            self._destroy(self.value)


def choose(switch: str) -> RegionDecoder | None:
    """The decoder that INPUT.REGION_DECODE asks for: "auto" takes what there is, "off" none.

    Raises ConfigError for other words, and for "on" where there is none.
    """
    if switch not in ("auto", "on", "off"):
        raise ConfigError(f"INPUT.REGION_DECODE is {switch!r}; expected auto, on or off")
    decoder = None if switch == "off" else find()
    if switch == "on" and decoder is None:
        raise ConfigError(
            "INPUT.REGION_DECODE is on, and no libjpeg-turbo 3 is found that decodes as OpenCV does; "
            + REMEDY
        )
    return decoder


@functools.cache
def find() -> RegionDecoder | None:
    """The decoder of this machine's libturbojpeg, else of the one in the ``turbojpeg`` wheel, or None.

    A library older than version 3 cannot decode regions and counts as none, as does one whose
    pixels differ from OpenCV's.
    """
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            _declare(library)
        except (OSError, AttributeError):
            continue
        if agrees(decoder := RegionDecoder(library)):
            return decoder
    return None


def agrees(decoder: RegionDecoder) -> bool:
    """Whether regions of a drawn photo equal the same parts of it decoded whole by OpenCV."""
    ramp = np.add.outer(np.arange(150) * 3, np.arange(200) * 5)
    photo = np.stack([ramp % 251, (ramp * 7) % 256, (ramp // 3) % 256], axis=2).astype(np.uint8)
    # 4:2:0, as cameras write it, and no subsampling.
    for sampling in (0x221111, 0x111111):
        made = cv2.imencode(
            ".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        )
        if not all(_agrees(decoder, made[1].tobytes(), reduction) for reduction in (1, 2)):
            return False
    return True


def _agrees(decoder: RegionDecoder, photo: bytes, reduction: int) -> bool:
    flag = cv2.IMREAD_COLOR if reduction == 1 else cv2.IMREAD_REDUCED_COLOR_2
    whole = cv2.imdecode(np.frombuffer(photo, np.uint8), flag)
    x, y, width, height = (v // reduction for v in (70, 41, 90, 66))
    part = decoder.decode(photo, (x, y, width, height), reduction)
    if whole is None or part is None:
        return False
    return np.array_equal(part, whole[y : y + height, x : x + width])


def _candidates() -> list[str]:
    named = find_library("turbojpeg")
    spec = importlib.util.find_spec("turbojpeg")
    found = [named] if named else []
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "turbojpeg.libs"
        found += [str(path) for path in sorted(bundled.glob("libturbojpeg*"))]
    return found


def _declare(turbo: ctypes.CDLL) -> None:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("tj3Init", pointer, [number]),
        ("tj3Destroy", None, [pointer]),
        ("tj3Get", number, [pointer, number]),
        ("tj3DecompressHeader", number, [pointer, pointer, ctypes.c_size_t]),
        ("tj3SetScalingFactor", number, [pointer, _Scale]),
        ("tj3SetCroppingRegion", number, [pointer, _Region]),
        ("tj3Decompress8", number, [pointer, pointer, ctypes.c_size_t, pointer, number, number]),
    ):
        function = getattr(turbo, name)
        function.restype, function.argtypes = result, arguments
