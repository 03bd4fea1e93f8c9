"""Colours and surface patterns: what a part is painted with, as functions of object coordinates."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wsl_det.demo.shapes import Array

Colour = tuple[float, float, float]
Span = tuple[float, float]
Pattern = Callable[[Array, Array], Array]  # x, y -> how much of the accent colour, 0..1


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
        amount = self.pattern(x, y)[..., None]
        return base * (1 - amount) + np.asarray(self.accent, dtype=np.float32) * amount


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


def soft_step(values: Array, edge: float) -> Array:
    """0 below zero, 1 above, with a ramp of width ``edge`` so that the pattern's borders are smooth."""
    return np.clip(values / edge + 0.5, 0, 1).astype(np.float32)


def stripes(
    rng: np.random.Generator, period: float, angle: float = 0.0, wobble: float = 0.0, duty: float = 0.5
) -> Pattern:
    """Bands that run across ``angle``; ``wobble`` bends them, ``duty`` is the accent's share."""
    phase, bend = rng.uniform(0, 2 * np.pi, 2)
    cos, sin, level = float(np.cos(angle)), float(np.sin(angle)), float(np.cos(np.pi * duty))

    def pattern(x: Array, y: Array) -> Array:
        across = x * cos + y * sin
        along = y * cos - x * sin
        wave = np.cos(2 * np.pi * across / period + phase + wobble * np.sin(4.5 * along + bend))
        return soft_step(wave - level, 0.35)

    return pattern


def spots(rng: np.random.Generator, number: int, radius: float, reach: Span = (1.0, 1.0)) -> Pattern:
    """About ``number`` round spots over the rectangle of half sizes ``reach``."""
    places = _spread(rng, number, reach)
    radii = radius * rng.uniform(0.7, 1.3, number).astype(np.float32)

    def pattern(x: Array, y: Array) -> Array:
        inside = np.full(x.shape, -1.0, dtype=np.float32)
        for (px, py), r in zip(places, radii, strict=True):
            np.maximum(inside, 1 - ((x - px) ** 2 + (y - py) ** 2) / r**2, out=inside)
        return soft_step(inside, 0.3)

    return pattern


def cells(rng: np.random.Generator, number: int, gap: float, reach: Span = (1.0, 1.0)) -> Pattern:
    """Patches with pale seams, as on a giraffe: Worley cells, accent where the second seed is far enough."""
    places = _spread(rng, number, reach)

    def pattern(x: Array, y: Array) -> Array:
        near = np.full(x.shape, 9.0, dtype=np.float32)
        second = near.copy()
        for px, py in places:
            far = np.sqrt((x - px) ** 2 + (y - py) ** 2)
            second = np.minimum(second, np.maximum(near, far))
            near = np.minimum(near, far)
        return soft_step(second - near - gap, gap)

    return pattern


def panels(rng: np.random.Generator, number: int, x: float, y: float) -> Pattern:
    """Alternating sectors around the point (x, y), as on an umbrella."""
    phase = rng.uniform(0, 2 * np.pi)

    def pattern(px: Array, py: Array) -> Array:
        return soft_step(np.sin(number * np.arctan2(py - y, px - x) + phase), 0.5)

    return pattern


def fade(angle: float, middle: float = 0.0, width: float = 1.0) -> Pattern:
    """A ramp from base to accent along ``angle``, centred at ``middle``."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))

    def pattern(x: Array, y: Array) -> Array:
        return soft_step(x * cos + y * sin - middle, width)

    return pattern


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> Array:
    """Smooth value noise around 0 (about -1..1); ``cell`` is the size in pixels of its largest lumps."""
    field = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        grid = (int(height / size) + 2, int(width / size) + 2)
        lumps = rng.uniform(-1, 1, grid).astype(np.float32)
        field += cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return field


def _spread(rng: np.random.Generator, number: int, reach: Span) -> Array:
    # A jittered low-discrepancy row: plain uniform points leave bald areas and clumps.
    index = np.arange(number)
    steps = np.stack([index * 0.7548777, index * 0.5698403], axis=1) + rng.uniform(0, 1, 2)
    places = (steps % 1.0) * 2 - 1 + rng.normal(0, 0.04, (number, 2))
    return (places * np.asarray(reach)).astype(np.float32)
