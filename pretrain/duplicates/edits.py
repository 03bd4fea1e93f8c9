"""Planted copies: what people do to a photo before they post it again, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pretrain.stream import transforms
from pretrain.stream.transforms import Pixels
from wsl_det.core import seed as seeds

_QUALITY = 90
Edit = Callable[[Pixels, np.random.Generator], bytes]


def _jpeg(image: Pixels, quality: int = _QUALITY) -> bytes:
    done, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV packs every 8-bit image"
    return packed.tobytes()


def _window(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A window of about ``share`` of the area, of a shape up to a fifth longer or shorter, anywhere."""
    height, width = image.shape[:2]
    shape = rng.uniform(1 / 1.2, 1.2) ** 0.5
    h, w = (max(1, round(min(n, n * share**0.5 * s))) for n, s in ((height, shape), (width, 1 / shape)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return image[top : top + h, left : left + w]


def _crop(image: Pixels, rng: np.random.Generator) -> bytes:
    return _jpeg(_window(image, rng.uniform(0.5, 0.9), rng))


def _flip(image: Pixels, rng: np.random.Generator) -> bytes:
    return _jpeg(cv2.flip(image, 1))  # type: ignore[arg-type]


def _recompress(image: Pixels, rng: np.random.Generator) -> bytes:
    return _jpeg(image, int(rng.integers(15, 40)))


def _resize(image: Pixels, rng: np.random.Generator) -> bytes:
    height, width = image.shape[:2]
    scale, shape = rng.uniform(0.25, 0.6), rng.uniform(0.9, 1.1)
    size = (max(8, round(width * scale * shape)), max(8, round(height * scale)))
    return _jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]


def _overlay(image: Pixels, rng: np.random.Generator) -> bytes:
    return _jpeg(_written_on(image, rng))


def _several(image: Pixels, rng: np.random.Generator) -> bytes:
    image = _written_on(_window(cv2.flip(image, 1), rng.uniform(0.6, 0.9), rng), rng)  # type: ignore[arg-type]
    return _jpeg(image, int(rng.integers(30, 60)))


def _written_on(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A caption in a band at the top or the bottom, as memes and reposts carry it."""
    image = image.copy()
    height, width = image.shape[:2]
    band = max(4, round(height * rng.uniform(0.1, 0.2)))
    top = 0 if rng.random() < 0.5 else height - band
    dark = bool(rng.random() < 0.5)
    cv2.rectangle(image, (0, top), (width, top + band), (0,) * 3 if dark else (255,) * 3, -1)
    words = "".join(chr(int(c)) for c in rng.integers(97, 123, 12))
    scale = width / 260
    where = (round(width * 0.05), top + round(band * 0.75))
    ink = (255,) * 3 if dark else (0,) * 3
    cv2.putText(image, words, where, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, max(1, round(2 * scale)))
    return image


EDITS: dict[str, Edit] = {
    "crop": _crop,  # 50 to 90% of the area
    "flip": _flip,
    "recompress": _recompress,  # JPEG quality 15 to 39
    "resize": _resize,  # to 25 to 60% of the side, the shape changed by up to a tenth
    "overlay": _overlay,  # a caption over 10 to 20% of the height
    "several": _several,  # flip, crop to 60 to 90%, overlay and recompression together
}


@dataclass(frozen=True)
class Plant:
    """Makes the planted copy of one kind: a file and its number to another file."""

    kind: str
    seed: int

    def __call__(self, data: bytes, row: int) -> bytes:
        """The edited copy; raises BadImage for a file that does not decode."""
        image = transforms.decode_any(data)
        return EDITS[self.kind](image, seeds.numpy_generator("plant", self.seed, self.kind, row))
