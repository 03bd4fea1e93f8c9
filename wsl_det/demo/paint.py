"""How things are drawn: parts with an outline and a paint, laid over one another, become a sprite.

Outlines and patterns are in object coordinates: about -1..1, y down.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # float32 in pictures; numpy's stubs lose the width in most expressions
Colour = tuple[float, float, float]
Span = tuple[float, float]
Pattern = Callable[[Array, Array], Array]  # x, y -> how much of the accent colour, 0..1
Light = tuple[float, float, float, float]  # unit vector to it (right, down, to the viewer), ambient share

_FINE = 2  # drawn this many times larger, then averaged: what makes edges and patterns smooth
_SUBPIXEL = 4  # fractional bits of the coordinates given to OpenCV
_MARGIN = 3  # pixels of the fine canvas around the object


@dataclass(frozen=True)
class Fill:
    """A painted surface: ``base`` where the pattern is 0, ``accent`` where it is 1, then grain and gloss."""

    base: Colour
    accent: Colour = (0.0, 0.0, 0.0)
    pattern: Pattern | None = None
    grain: float = 0.08  # how strongly the surface noise darkens and lightens it
    gloss: float = 0.0  # strength of the highlight, 0 for matt

    def colours(self, x: Array, y: Array) -> Array:
        """RGB in 0..1 at the object coordinates ``x``, ``y``: (H, W, 3), or (3,) where all is one colour."""
        base = np.asarray(self.base, dtype=np.float32)
        if self.pattern is None:
            return base
        return base + (np.asarray(self.accent, dtype=np.float32) - base) * self.pattern(x, y)[..., None]


@dataclass(frozen=True)
class Part:
    """A piece of an object: closed outline, paint, and how much it bulges (0 is flat)."""

    outline: Array
    fill: Fill
    bulge: float = 0.6


@dataclass(frozen=True)
class Pose:
    """How an object is seen: longest side in pixels, turn in radians, width factor (below 0: mirrored)."""

    size: float
    angle: float = 0.0
    squash: float = 1.0


class Parts(list[Part]):
    """The parts of an object, drawn one over another in the order in which they are added."""

    def shape(self, corners: ArrayLike, fill: Fill, bulge: float = 0.6, rounds: int = 2) -> None:
        """An outline through ``corners``, each cut ``rounds`` times."""
        self.append(Part(smooth(corners, rounds), fill, bulge))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill, bulge: float = 0.6) -> None:  # noqa: PLR0917
        """An upright ellipse around (x, y)."""
        self.shape(ellipse(x, y, rx, ry), fill, bulge, 0)

    def box(  # noqa: PLR0917
        self, left: float, top: float, right: float, bottom: float, fill: Fill, bulge: float = 0.6,
        corner: float = 0.25,
    ) -> None:  # fmt: skip
        """A rectangle whose corners are rounded by ``corner`` (0..0.5) of its short side."""
        cut = corner * min(right - left, bottom - top)
        xs, ys = (left, left + cut, right - cut, right), (top, top + cut, bottom - cut, bottom)
        turns = ((1, 0), (2, 0), (3, 1), (3, 2), (2, 3), (1, 3), (0, 2), (0, 1))
        self.shape([(xs[i], ys[j]) for i, j in turns], fill, bulge, 1)

    def limb(
        self, points: ArrayLike, widths: float | Sequence[float], fill: Fill, bulge: float = 0.6
    ) -> None:
        """A tapered, bent strip; ``widths`` is its half width, one or one for each point."""
        self.shape(limb(points, widths), fill, bulge, 0)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Fill) -> None:
        """A circle with a hole."""
        circle = ellipse(x, y, radius - width / 2, radius - width / 2)
        self.limb([*circle, circle[0]], width / 2, fill)


def smooth(points: ArrayLike, rounds: int = 2) -> Array:
    """The closed outline through the corners of ``points``, each corner cut ``rounds`` times (Chaikin)."""
    corners: Array = np.asarray(points, dtype=np.float32)
    for _ in range(rounds):
        quarter = 0.25 * (np.roll(corners, -1, axis=0) - corners)
        corners = np.stack([corners + quarter, corners + 3 * quarter], axis=1).reshape(-1, 2)
    return corners


def ellipse(x: float, y: float, rx: float, ry: float) -> Array:
    """An upright ellipse around (x, y)."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def rotate(points: ArrayLike, angle: float) -> Array:
    """``points`` turned by ``angle`` radians around the origin."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points) @ np.array([[cos, sin], [-sin, cos]])


def limb(points: ArrayLike, widths: float | Sequence[float] | Array) -> Array:
    """A tapered, bent strip along ``points``; ``widths`` is its half width, one or one for each of them."""
    spine = np.asarray(points, dtype=np.float32)
    # The direction at a joint is the mean of the segments that meet there.
    along = np.gradient(spine, axis=0)
    across = along[:, ::-1] * [-1, 1] / (np.hypot(along[:, :1], along[:, 1:]) + 1e-6)
    across = across * np.broadcast_to(widths, len(spine))[:, None]
    return smooth(np.concatenate([spine + across, (spine - across)[::-1]]), 1)


def colour(
    rng: np.random.Generator, hue: Span = (0, 1), saturation: Span = (0.5, 0.9), value: Span = (0.5, 0.95)
) -> Colour:
    """A random RGB colour from a range of hues (turns; may run over 1), saturations and values."""
    h, s, v = (rng.uniform(*span) for span in (hue, saturation, value))
    return colorsys.hsv_to_rgb(h % 1.0, s, v)


def grey(rng: np.random.Generator, value: Span) -> Colour:
    """A nearly neutral colour."""
    return colour(rng, saturation=(0.0, 0.08), value=value)


def darker(of: Colour, factor: float) -> Colour:
    """The same hue, ``factor`` times as bright."""
    return (of[0] * factor, of[1] * factor, of[2] * factor)


def stripes(
    rng: np.random.Generator, period: float, angle: float = 0.0, wobble: float = 0.0, duty: float = 0.5
) -> Pattern:
    """Bands that run across ``angle``; ``wobble`` bends them, ``duty`` is the accent's share."""
    phase, bend = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    cos, sin, level = math.cos(angle), math.sin(angle), math.cos(math.pi * duty)

    def pattern(x: Array, y: Array) -> Array:
        bent = phase + wobble * np.sin(4.5 * (y * cos - x * sin) + bend)
        return _soft_step(np.cos(2 * math.pi / period * (x * cos + y * sin) + bent) - level, 0.35)

    return pattern


def spots(rng: np.random.Generator, number: int, radius: float, reach: Span = (1.0, 1.0)) -> Pattern:
    """About ``number`` round spots over the rectangle of half sizes ``reach``."""
    places = _spread(rng, number, reach)
    sizes = (radius * rng.uniform(0.7, 1.3, number).astype(np.float32)) ** 2
    return lambda x, y: _soft_step(1 - reduce(np.minimum, map(np.divide, _squares(places, x, y), sizes)), 0.3)


def cells(rng: np.random.Generator, number: int, gap: float, reach: Span) -> Pattern:
    """Patches with pale seams, as on a giraffe: Worley cells, accent where the second seed is far enough."""
    places = _spread(rng, number, reach)

    def pattern(x: Array, y: Array) -> Array:
        near = second = np.full(x.shape, 9.0, dtype=np.float32)
        for far in _squares(places, x, y):
            near, second = np.minimum(near, far), np.minimum(second, np.maximum(near, far))
        return _soft_step(np.sqrt(second) - np.sqrt(near) - gap, gap)

    return pattern


def panels(rng: np.random.Generator, number: int, x: float, y: float) -> Pattern:
    """Alternating sectors around the point (x, y), as on an umbrella."""
    phase = float(rng.uniform(0, 2 * np.pi))
    return lambda px, py: _soft_step(np.sin(number * np.arctan2(py - y, px - x) + phase), 0.5)


def fade(angle: float, middle: float = 0.0, width: float = 1.0) -> Pattern:
    """A ramp from base to accent along ``angle``, centred at ``middle``."""
    cos, sin = math.cos(angle), math.sin(angle)
    return lambda x, y: _soft_step(x * cos + y * sin - middle, width)


def render(parts: Parts, pose: Pose, light: Light, rng: np.random.Generator) -> Array:
    """Draw ``parts`` in order, later ones on top: RGBA (H, W, 4), float32 in 0..1, colours times alpha."""
    turn = rotate(np.diag([pose.squash, 1.0]), pose.angle)
    points = np.concatenate([part.outline for part in parts]) @ turn
    low, high = points.min(axis=0), points.max(axis=0)
    scale = pose.size * _FINE / float((high - low).max())
    matrix, offset = turn * scale, _MARGIN - low * scale
    width, height = (int(np.ceil(v / _FINE)) for v in (high - low) * scale + 2 * _MARGIN)
    rgba = np.zeros((height * _FINE, width * _FINE, 4), dtype=np.float32)
    # What is painted where: the object coordinates of each pixel, and the noise that all parts share.
    grain = noise(rng, *rgba.shape[:2], cell=max(6.0, 0.05 * max(rgba.shape)), octaves=2)
    pixels = np.indices(rgba.shape[:2])[::-1] - offset[:, None, None]
    surface = np.stack([*np.tensordot(np.linalg.inv(matrix).T, pixels, 1), grain]).astype(np.float32)
    for part in parts:
        _lay(rgba, surface, part, part.outline @ matrix + offset, light)
    return cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA)


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> Array:
    """Smooth value noise around 0 (about -1..1); ``cell`` is the size in pixels of its largest lumps."""
    field = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        lumps = rng.uniform(-1, 1, (int(height / size) + 2, int(width / size) + 2)).astype(np.float32)
        field += cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return field


def _squares(places: Array, x: Array, y: Array) -> Iterator[Array]:
    """The squared distances of the points (x, y) from each of ``places`` (N, 2)."""
    return ((x - px) ** 2 + (y - py) ** 2 for px, py in places)


def _soft_step(values: Array, edge: float) -> Array:
    """0 below zero, 1 above, with a ramp of width ``edge`` so that the pattern's borders are smooth."""
    return np.clip(values / edge + 0.5, 0, 1)


def _spread(rng: np.random.Generator, number: int, reach: Span) -> Array:
    # A jittered low-discrepancy row: plain uniform points leave bald areas and clumps.
    steps = np.arange(number)[:, None] * [0.7548777, 0.5698403] + rng.uniform(0, 1, 2)
    places = (steps % 1.0) * 2 - 1 + rng.normal(0, 0.04, (number, 2))
    return (places * reach).astype(np.float32)


def _lay(rgba: Array, surface: Array, part: Part, outline: Array, light: Light) -> None:
    """Paint one part over the fine canvas, in place; ``surface`` is x, y and grain, (3, H, W)."""
    left, top, width, height = cv2.boundingRect(outline.astype(np.float32))
    window = np.s_[top - 2 : top + height + 2, left - 2 : left + width + 2]
    x, y, grain = surface[:, *window]
    mask = np.zeros(x.shape, dtype=np.uint8)
    corners = np.round((outline - [left - 2, top - 2]) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL)
    cover = mask.astype(np.float32) / 255
    shade, shine = _shading(mask, part, light)
    painted = np.ones((*mask.shape, 4), dtype=np.float32)
    painted[..., :3] = part.fill.colours(x, y) * (shade * (1 + part.fill.grain * grain))[..., None] + shine
    below = rgba[window]
    # Parts darken what lies just behind their edges, which separates a limb from the body.
    below[..., :3] *= (1 - 0.35 * cv2.blur(cover, (7, 7)))[..., None]
    below += (painted - below) * cover[..., None]


def _shading(mask: Array, part: Part, light: Light) -> tuple[Any, Any]:
    """Light (H, W) and highlight (H, W, 1) on a part that bulges as a cushion does; numbers where flat."""
    lx, ly, lz, ambient = light
    if part.bulge == 0:
        return np.float32(ambient + (1.25 - ambient) * lz), np.float32(0)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    radius = float(depth.max()) + 1e-3
    height = cv2.blur(np.sqrt(1 - (1 - np.minimum(depth / radius, 1)) ** 2), (3, 3)) * radius * part.bulge
    gx, gy = (cv2.Sobel(height, cv2.CV_32F, 1 - k, k, scale=0.125) for k in (0, 1))
    lambert = np.clip((lz - gx * lx - gy * ly) / np.sqrt(1 + gx * gx + gy * gy), 0, 1)
    shade = ambient + (1.25 - ambient) * lambert
    return shade, part.fill.gloss and part.fill.gloss * cv2.pow(lambert, 24)[..., None]
