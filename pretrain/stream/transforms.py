"""JPEG bytes to pixels: decoding, random resized crop, flip, centre crop. Chance comes in as numbers.

Photos are turned upright by their EXIF orientation, as Detectron2's reader does, so that
pretraining and detection see the same world. Pixels are RGB uint8.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from pretrain.shards import images as image_files
from pretrain.stream.jpeg_regions import RegionDecoder
from wsl_det.core import photos
from wsl_det.core.photos import BadImage, JpegInfo, jpeg_info

Pixels = NDArray[np.uint8]

_ATTEMPTS = 10
# Four numbers for each attempt at a crop, one for the flip.
NUM_CHANCES = 4 * _ATTEMPTS + 1


class Box(NamedTuple):
    """A crop in whole pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int, reduction: int = 1) -> Pixels:
    """The upright photo, (H, W, 3) BGR, or its 1/``reduction`` (2, 4, 8) version made while decoding.

    Raises BadImage for bytes that are not a whole image or announce more than
    ``max_pixels``, which is looked at before memory is spent on them.
    """
    if not data.startswith(b"\xff\xd8"):
        with photos.opened(io.BytesIO(data), image_files.FORMATS, max_pixels=max_pixels) as other:
            rgb = np.asarray(photos.rgb(other))
            return np.ascontiguousarray(rgb[:, :, ::-1])
    check(data, jpeg_info(data), max_pixels)
    flag = cv2.IMREAD_COLOR if reduction == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{reduction}")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    except cv2.error as error:
        raise BadImage(str(error.err)) from None
    if image is None:
        raise BadImage(photos.unread(data))
    return image  # type: ignore[return-value]


def decode_any(data: bytes) -> Pixels:
    """The upright photo, (H, W, 3) BGR, of a file of any kind, by the rule of the shards."""
    return decode(image_files.as_jpeg(data), max_pixels=image_files.MAX_PIXELS)


def check(data: bytes, info: JpegInfo | None, max_pixels: int) -> None:
    """Raise BadImage for a JPEG that announces more than ``max_pixels`` or has no end."""
    if info and info.width * info.height > max_pixels:
        raise BadImage(f"{info.width}x{info.height} pixels, more than {max_pixels}")
    # Decoders fill the missing part of a truncated photo with grey and say nothing.
    if info and data.rfind(b"\xff\xd9", max(0, len(data) - 4096)) < 0:
        raise BadImage("truncated JPEG")


def random_box(
    width: int,
    height: int,
    chances: Sequence[float],
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random resized crop's box: ``area`` is a range of fractions of the photo, ``ratio`` of width/height.

    ``chances`` are NUM_CHANCES numbers in [0, 1). Ten attempts, then the largest centred box
    whose shape is in range (torchvision's RandomResizedCrop).
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(_ATTEMPTS):
        u_area, u_ratio, u_x, u_y = chances[4 * attempt : 4 * attempt + 4]
        pixels = width * height * (area[0] + (area[1] - area[0]) * u_area)
        shape = math.exp(low + (high - low) * u_ratio)
        w, h = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(u_x * (width - w + 1)), int(u_y * (height - h + 1)), w, h)
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return Box((width - w) // 2, (height - h) // 2, w, h)


def centre_box(width: int, height: int, *, size: int, resize: int) -> Box:
    """The box that shortening the short side to ``resize`` and cutting ``size`` from the middle shows."""
    side = max(1, round(min(width, height) * size / resize))
    side = min(side, width, height)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def cut(image: Pixels, box: Box, size: int, *, flip: bool = False) -> Pixels:
    """The box of a BGR photo resized bilinearly to (size, size, 3) RGB, antialiased where it shrinks.

    Shrinking is Pillow's and torchvision's (each pixel within 1 of Pillow's); enlarging is OpenCV's.
    """
    crop = image[box.y : box.y + box.height, box.x : box.x + box.width]
    if box.width > size and box.height > size:
        # On x86 this kernel takes half the time of OpenCV's area averages, in the calling thread.
        planes = torch.from_numpy(crop).permute(2, 0, 1)[None]
        shrunk = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
        small = np.ascontiguousarray(shrunk[0].permute(1, 2, 0).numpy())
    else:
        small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return cv2.flip(rgb, 1) if flip else rgb  # type: ignore[return-value]


@dataclass(frozen=True)
class TrainCrop:
    """JPEG bytes and chances to a training crop, (size, size, 3) RGB."""

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    max_pixels: int = 1 << 26
    reduce: bool = False
    regions: RegionDecoder | None = None

    def __call__(self, data: bytes, chances: Sequence[float]) -> Pixels:
        """The crop. With ``regions`` only its part of the photo is decoded, to the same pixels.

        With ``reduce`` a much larger crop is decoded at 1/2, 1/4 or 1/8. Then each edge of the
        crop moves by at most half a pixel of the result: the decoder's reduction r is used only
        where the crop is at least r times ``size`` both ways, and edges are rounded to multiples
        of r.
        """
        flip = self.flip and chances[-1] < 0.5
        info = jpeg_info(data) if self.reduce or self.regions else None
        if info and not info.oriented and info.width and info.height:
            box = random_box(info.width, info.height, chances, area=self.area, ratio=self.ratio)
            image, box = self._decode_part(data, info, box)
        else:
            image = decode(data, max_pixels=self.max_pixels)
            box = random_box(image.shape[1], image.shape[0], chances, area=self.area, ratio=self.ratio)
        return cut(image, box, self.size, flip=flip)

    def _decode_part(self, data: bytes, info: JpegInfo, box: Box) -> tuple[Pixels, Box]:
        """Pixels that hold the box, and the box in them."""
        reduction = 1
        if self.reduce:
            reduction = max(r for r in (1, 2, 4, 8) if r * self.size <= min(box.width, box.height) or r == 1)
            box = reduced_box(box, reduction)
        if self.regions is not None:
            check(data, info, self.max_pixels)
            part = self.regions.decode(data, box, reduction)
            if part is not None:
                return part, Box(0, 0, box.width, box.height)
        return decode(data, max_pixels=self.max_pixels, reduction=reduction), box


@dataclass(frozen=True)
class TestCrop:
    """JPEG bytes to the centre crop of evaluation, (size, size, 3) RGB; chances are not used."""

    __test__ = False  # not a test, whatever pytest thinks of the name
    size: int
    resize: int
    max_pixels: int = 1 << 26

    def __call__(self, data: bytes, chances: Sequence[float]) -> Pixels:
        """The centre crop."""
        image = decode(data, max_pixels=self.max_pixels)
        return cut(
            image, centre_box(image.shape[1], image.shape[0], size=self.size, resize=self.resize), self.size
        )


def reduced_box(box: Box, reduction: int) -> Box:
    """The box in a photo reduced while decoding, every edge rounded to the nearest whole pixel there."""
    left, top = round(box.x / reduction), round(box.y / reduction)
    right, bottom = round((box.x + box.width) / reduction), round((box.y + box.height) / reduction)
    return Box(left, top, right - left, bottom - top)
