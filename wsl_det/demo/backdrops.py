"""Where pictures are taken: sea, street, meadow, desert, sky, reef, leaves and a table top."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Array, Colour, Span, ellipse, limb, noise, rotate, smooth

Backdrop = tuple[Array, float]  # RGB (H, W, 3) in 0..1, and the share of the height above the ground

# Ridges: colours, from and below how many, height as a share; ground: colours, texture as in _ground;
# at most how many blades of grass and stones.
_LANDS: dict[str, Any] = {
    "sea": (((0.25, 0.6), (0.1, 0.35), (0.3, 0.5)), (0, 2), 0.12,
            ((0.47, 0.6), (0.35, 0.75), (0.35, 0.65)), (5.0, 0.16), (0, 0)),
    "meadow": (((0.22, 0.5), (0.15, 0.45), (0.3, 0.6)), (1, 4), 0.2,
               ((0.14, 0.33), (0.35, 0.65), (0.35, 0.62)), (0.5, 0.2), (60, 0)),
    "desert": (((0.02, 0.1), (0.25, 0.55), (0.45, 0.7)), (1, 3), 0.25,
               ((0.05, 0.13), (0.25, 0.5), (0.55, 0.82)), (2.0, 0.14), (0, 13)),
}  # fmt: skip


def sky(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Clouds on a blue, grey or evening sky; no ground."""
    top = paint.colour(rng, (0.53, 0.62), (0.1, 0.65), (0.5, 0.9))
    low, evening = paint.grey(rng, (0.75, 0.95)), paint.colour(rng, (0.02, 0.13), (0.2, 0.6), (0.7, 0.95))
    stretched = cv2.resize(noise(rng, height, width // 2 + 1, rng.uniform(14, 40), 4), (width, height))
    cover = np.clip((stretched - rng.uniform(-0.2, 0.7)) * rng.uniform(0.6, 1.4), 0, 0.9)[..., None]
    cloud = _tinted(paint.grey(rng, (0.75, 1.0)), 1 - 0.15 * np.clip(stretched, 0, 1))
    clear = np.linspace(top, evening if rng.random() < 0.25 else low, height, dtype=np.float32)[:, None]
    return clear * (1 - cover) + cloud * cover, 0.95


def land(name: str, rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky, ridges and ground: a rippled sea, a meadow with blades of grass, a desert with stones."""
    ridges, number, high, ground, texture, (blades, stones) = _LANDS[name]
    rgb, _ = sky(rng, height, width)
    line = int(height * rng.uniform(0.25, 0.5))
    for _ in range(rng.integers(*number)):
        _ridge(rng, rgb, line, paint.colour(rng, *ridges), high * height)
    tone = paint.colour(rng, *ground)
    rgb[line:] = _ground(rng, height - line, width, tone, texture)
    for y in rng.uniform(line, height * 1.05, rng.integers(blades // 3, blades + 1)):
        tall, lean = 0.12 * (y - line) + 2, rng.uniform(-0.4, 0.4)
        blade = (rng.uniform(0, width), y) + tall * np.array([(0, 0), (lean * 0.4, -0.6), (lean, -1)])
        _stroke(rgb, limb(blade, [0.9, 0.7, 0.2]), paint.darker(tone, rng.uniform(0.55, 1.35)))
    for y in rng.uniform(line + 2, height, rng.integers(stones // 4, stones + 1)):
        stone = ellipse(rng.uniform(0, width), y, *(rng.uniform(0.5, 1.5, 2) * 0.02 * y))
        _stroke(rgb, stone, paint.darker(tone, rng.uniform(0.45, 0.8)))
    return rgb, line / height


def street(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """House fronts with windows, a pavement, and a road with markings."""
    rgb, _ = sky(rng, height, width)
    line, left = int(height * rng.uniform(0.35, 0.55)), 0.0
    while left < width:
        right, top = left + rng.uniform(0.18, 0.45) * width, line * rng.uniform(0.0, 0.55)
        front = rgb[int(top) : line, int(left) : int(right)]
        front[:] = paint.colour(rng, (0.0, 0.7), (0.05, 0.4), (0.4, 0.85))
        # Windows in columns and rows: u and v run from 0 to 1 in each.
        v, u = (np.linspace(0, rng.integers(2, 5), n, endpoint=False) % 1 for n in front.shape[:2])
        glass = paint.colour(rng, (0.5, 0.65), (0.05, 0.3), (0.15, 0.75))
        front[np.outer((v > 0.25) & (v < 0.8), (u > 0.25) & (u < 0.75))] = glass
        left = right
    rgb[line:] = _ground(rng, height - line, width, paint.grey(rng, (0.25, 0.5)), (2.0, 0.1))
    kerb = line + int(0.08 * height)
    rgb[line:kerb] *= 1.45
    rgb[kerb : kerb + 2] *= 0.6
    y, dashes = int(rng.uniform(0.6, 0.85) * (height - kerb)) + kerb, np.arange(width) + rng.integers(34)
    rgb[y : y + 4, dashes % 34 < 17] = (0.85, 0.85, 0.8)
    return rgb, line / height


def reef(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Under water: light from above, sand or gravel, weed, rocks and corals."""
    deep = paint.colour(rng, (0.45, 0.62), (0.5, 0.85), (0.2, 0.45))
    bright = paint.colour(rng, (0.45, 0.55), (0.3, 0.6), (0.6, 0.85))
    water = np.linspace(bright, deep, height, dtype=np.float32)[:, None]
    rgb: Array = water * (1 + 0.12 * noise(rng, height, width, 40))[..., None]
    fading = np.linspace(0.25, 0, height, dtype=np.float32)[:, None]
    rgb += (np.clip(noise(rng, 1, width, 16, 2), 0, 1) * fading)[..., None]
    line = int(height * rng.uniform(0.68, 0.85))
    _ridge(rng, rgb, line, paint.darker(deep, 0.8), 0.2 * height)
    bed = paint.colour(rng, (0.08, 0.14), (0.15, 0.35), (0.45, 0.75))
    rgb[line:] = _ground(rng, height - line, width, bed, (1.5, 0.25))
    for x in rng.uniform(0, width, rng.integers(3, 9)):
        foot, reach = rng.uniform(line, height), rng.uniform(0.1, 0.45) * height
        near, far = x + rng.uniform(-0.3, 0.3, 2) * reach
        weed = [(x, foot), (near, foot - reach * 0.5), (far, foot - reach)]
        tone = paint.colour(rng, (0.2, 0.95), (0.3, 0.8), (0.25, 0.6))
        _stroke(rgb, limb(weed, rng.uniform(1, 5) * np.array([1.0, 0.8, 0.3])), tone)
    return rgb, line / height


def leaves(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """A close-up of leaves, the farther ones out of focus."""
    green = paint.colour(rng, (0.2, 0.36), (0.4, 0.75), (0.2, 0.5))
    far = np.linspace(green, paint.darker(green, 0.6), height, dtype=np.float32)[:, None]
    rgb: Array = far * (1 + 0.3 * noise(rng, height, width, 30))[..., None]
    number = int(rng.integers(8, 16))
    for k in range(number):
        tone = paint.colour(rng, (0.17, 0.38), (0.35, 0.8), (0.25, 0.7))
        half, slim = rng.uniform(0.15, 0.4) * width, rng.uniform(0.3, 0.56)
        turn, centre = rng.uniform(0, 2 * np.pi), rng.uniform(0, (width, height))
        outline = rotate(half * smooth([(-1, 0), (0, -slim), (1, 0), (0, slim)]), turn) + centre
        _stroke(rgb, outline + 3, paint.darker(tone, 0.35))
        _stroke(rgb, outline, tone)
        rib = limb(rotate([(-half, 0), (0, 0), (half, 0)], turn) + centre, [1.0, 0.8, 0.3])
        _stroke(rgb, rib, paint.darker(tone, 1.35))
        if k == number * 2 // 3:
            rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(1.5, 3.5)))
    return rgb * (1 + 0.06 * noise(rng, height, width, 6, 2))[..., None], 0.25


def table(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Something flat seen from above: planks, a woven or checked cloth, sand, stone."""
    tone = paint.colour(rng, (0.02, 0.14), (0.1, 0.6), (0.4, 0.85))
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    turn, style = rng.uniform(0, np.pi), rng.integers(4)
    across, along = xs * np.cos(turn) + ys * np.sin(turn), ys * np.cos(turn) - xs * np.sin(turn)
    if style == 0:  # planks, with grain along them
        streaks = 0.1 * np.sin(across * 0.9 + 3 * noise(rng, height, width, 5, 2))
        value = 0.85 + streaks - 0.4 * (np.abs(across % rng.uniform(22, 45)) < 1.5)
    elif style == 1:  # cloth
        value = 0.85 + 0.12 * np.sin(across * 1.3) * np.sin(along * 1.3)
    elif style == 2:  # checks
        period = rng.uniform(12, 30)
        value = 0.75 + 0.22 * (np.sin(across * 6.28 / period) > 0) * (np.sin(along * 6.28 / period) > -0.2)
    else:
        value = 0.85 + 0.25 * noise(rng, height, width, rng.uniform(4, 30), 4)
    return _tinted(tone, value * (1 + 0.08 * noise(rng, height, width, 50))), 0.2


SCENES: dict[str, Callable[[np.random.Generator, int, int], Backdrop]] = {
    **{name: partial(land, name) for name in _LANDS},
    **{scene.__name__: scene for scene in (street, sky, reef, leaves, table)},
}


def _tinted(tone: Colour, value: Array) -> Array:
    """A colour at the brightness ``value`` (H, W)."""
    return np.asarray(tone, dtype=np.float32) * value.astype(np.float32)[..., None]


def _ground(rng: np.random.Generator, height: int, width: int, tone: Colour, texture: Span) -> Array:
    """A level surface in perspective, fine at the horizon (top row); texture: sideways stretch, strength."""
    stretch, strength = texture
    share = (np.arange(height, dtype=np.float32) + 1) / max(height, 1)
    depth = 1 / (0.15 + 0.85 * share)
    xs = (np.arange(width, dtype=np.float32)[None] - width / 2) * depth[:, None] * (0.8 / stretch) + 48
    ys = np.repeat(70 * depth[:, None], width, axis=1)
    lumps = cv2.remap(noise(rng, 96, 96, 8), xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    lumps = 1 + strength * (lumps + 0.6 * noise(rng, height, width, 3, 1))
    return _tinted(tone, (0.8 + 0.25 * share)[:, None] * lumps)


def _ridge(rng: np.random.Generator, rgb: Array, line: int, tone: Colour, reach: float) -> None:
    """A hill line that ends at row ``line``, up to ``reach`` high."""
    width = rgb.shape[1]
    profile = line - reach * (0.5 + 0.5 * noise(rng, 1, width, rng.uniform(20, 70))[0])
    rows = np.arange(rgb.shape[0], dtype=np.float32)[:, None]
    cover = (np.clip(rows - profile + 0.5, 0, 1) * (rows < line))[..., None]
    texture = 1 + 0.15 * noise(rng, rgb.shape[0], width, 7, 2)[..., None]
    rgb += (np.asarray(tone, np.float32) * texture - rgb) * cover


def _stroke(rgb: Array, outline: Array, tone: Colour) -> None:
    """Fill an outline, in pixels, with one colour."""
    cv2.fillPoly(rgb, [np.round(np.asarray(outline) * 16).astype(np.int32)], tone, cv2.LINE_8, 4)
