"""Pictures with masks, boxes, class names and scores, legible on thumbnails and on large photos alike."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsl_det.errors import printable

# The shorter side of a drawing: smaller pictures are enlarged until names can be read on them.
_LEGIBLE = 480
_GOLDEN = 0.618033988749895
_MASK_OPACITY = 0.42
_PAPER = (250, 250, 248)
_INK = (28, 30, 34)
_VERDICTS = {True: (22, 122, 68), False: (200, 30, 40)}


@dataclass(frozen=True)
class Shape:
    """One thing to draw, in the pixels of the original picture.

    mask: (H, W) uint8 or bool, or None for the box alone; score: None for annotations. right: whether a
    detection is, None for what was not judged.
    """

    box_xyxy: tuple[float, float, float, float]
    category: int
    name: str
    score: float | None = None
    mask: np.ndarray | None = None
    crowd: bool = False
    right: bool | None = None

    @property
    def tone(self) -> tuple[int, int, int]:
        """RGB of outline and plate: of the verdict where there is one, else of the class."""
        return color(self.category) if self.right is None else _VERDICTS[self.right]


def color(category: int) -> tuple[int, int, int]:
    """RGB of a class: hues a golden section apart, so that neighbours in the list differ most."""
    hue = (0.58 + category * _GOLDEN) % 1.0
    lightness = (0.50, 0.42, 0.58)[category % 3]
    r, g, b = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * r), round(255 * g), round(255 * b)


def draw(image: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """A copy of an (H, W, 3) RGB uint8 image with ``shapes`` on it, large ones below small ones.

    The result is enlarged by a whole factor when the shorter side is under 480 pixels.
    """
    factor = max(1, round(_LEGIBLE / min(image.shape[:2])))
    canvas = np.array(image, order="C")
    if factor > 1:
        canvas = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    ordered = sorted(shapes, key=lambda s: (s.box_xyxy[0] - s.box_xyxy[2]) * (s.box_xyxy[3] - s.box_xyxy[1]))
    for shape in ordered:
        if shape.mask is not None:
            _paint_mask(canvas, shape, factor)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    width = max(2, round(min(canvas.shape[:2]) / 300))
    for shape in ordered:
        # A box may end far outside: it is not followed there.
        box = np.clip(np.multiply(shape.box_xyxy, factor), -width, np.add(picture.size * 2, width)).tolist()
        _outline(pen, box, shape.tone, width, dashed=shape.crowd or shape.right is False)
    labels = _Labels(pen, canvas.shape[1], canvas.shape[0], width)
    # The best scores choose their places first.
    for shape in sorted(ordered, key=lambda s: -(s.score if s.score is not None else 1.0)):
        labels.put(shape, [v * factor for v in shape.box_xyxy])
    return np.asarray(picture)


def side_by_side(panels: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Drawings of one size next to each other, each under its title, on paper."""
    height, width = panels[0][1].shape[:2]
    size = max(15, round(min(height, width) / 26))
    gap, head = size, round(size * 2.1)
    sheet = Image.new("RGB", (len(panels) * (width + gap) + gap, height + head + gap), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for k, (title, panel) in enumerate(panels):
        left = gap + k * (width + gap)
        pen.text((left, head / 2), title, fill=_INK, font=ImageFont.load_default(size), anchor="lm")
        sheet.paste(Image.fromarray(panel), (left, head))
    return np.asarray(sheet)


def _paint_mask(canvas: np.ndarray, shape: Shape, factor: int) -> None:
    """Tints the pixels of a mask and traces its border, within its bounding rectangle only."""
    assert shape.mask is not None
    mask = np.ascontiguousarray(shape.mask, dtype=np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = mask[y, x]
    if factor > 1:
        # Smooth first, then cut: an enlarged mask follows the object instead of its pixels' stairs.
        soft = cv2.resize(part.astype(np.float32), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        part = (soft >= 0.5).astype(np.uint8)
    window = canvas[y.start * factor : y.stop * factor, x.start * factor : x.stop * factor]
    tint = np.array(color(shape.category), dtype=np.float32)
    inside = part.astype(bool)
    opacity = _MASK_OPACITY * (0.5 if shape.crowd else 1.0)
    window[inside] = (window[inside] * (1 - opacity) + tint * opacity).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(window, contours, -1, color(shape.category), max(1, factor // 2), cv2.LINE_AA)


def _outline(
    pen: ImageDraw.ImageDraw, box: Sequence[float], tone: tuple[int, int, int], width: int, *, dashed: bool
) -> None:
    x1, y1, x2, y2 = (round(v) for v in box)
    if not dashed:
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=tone, width=width)
        return
    step = 5 * width
    for start in range(x1, x2, 2 * step):
        for y in (y1, y2):
            pen.line((start, y, min(start + step, x2), y), fill=tone, width=width)
    for start in range(y1, y2, 2 * step):
        for x in (x1, x2):
            pen.line((x, start, x, min(start + step, y2)), fill=tone, width=width)


class _Labels:
    """Writes names on filled plates and keeps them from covering each other where there is room."""

    def __init__(self, pen: ImageDraw.ImageDraw, width: int, height: int, line: int) -> None:
        self.pen, self.width, self.height, self.line = pen, width, height, line
        self.size = max(13, round(min(width, height) / 38))
        self.taken: list[tuple[float, float, float, float]] = []

    def put(self, shape: Shape, box: Sequence[float]) -> None:
        """One label at the corner of ``box`` (above, inside or below) where it covers other labels least."""
        name = printable(" ".join(shape.name.split()))
        text = name if shape.score is None else f"{name} {shape.score:.2f}"
        if shape.crowd:
            text += " (crowd)"
        # On a small object a plate of full size would hide the object itself.
        small = min(box[2] - box[0], box[3] - box[1]) < 3 * self.size
        size = max(11, round(self.size * 0.8)) if small else self.size
        font = ImageFont.load_default(size)
        pad = max(2, size // 5)
        w, h = self.pen.textlength(text, font=font) + 2 * pad, size + 2 * pad
        corners = (
            (box[0], box[1] - h),
            (box[0], box[1]),
            (box[2] - w, box[1] - h),
            (box[0], box[3]),
            (box[0], box[3] - h),
        )
        inside = [(min(max(x, 0), self.width - w), min(max(y, 0), self.height - h)) for x, y in corners]
        x, y = min(inside, key=lambda at: self._covered((at[0], at[1], at[0] + w, at[1] + h)))
        plate = (x, y, x + w, y + h)
        self.taken.append(plate)
        tone = shape.tone
        self.pen.rectangle(plate, fill=tone)
        self.pen.text((x + pad, y + h / 2), text, fill=_text_on(tone), font=font, anchor="lm")

    def _covered(self, plate: tuple[float, float, float, float]) -> float:
        total = 0.0
        for other in self.taken:
            w = min(plate[2], other[2]) - max(plate[0], other[0])
            h = min(plate[3], other[3]) - max(plate[1], other[1])
            total += max(w, 0) * max(h, 0)
        return total


def _text_on(tone: tuple[int, int, int]) -> tuple[int, int, int]:
    """White or ink, whichever reads better (relative luminance, ITU-R BT.709 weights)."""
    r, g, b = tone
    return _INK if 0.2126 * r + 0.7152 * g + 0.0722 * b > 140 else (255, 255, 255)
