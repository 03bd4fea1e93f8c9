"""Where pictures are taken: sea, street, meadow, desert, sky, reef, leaves and a table top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Colour, Span, noise
from wsl_det.demo.shapes import Array, Points, ellipse, limb, off, rotate, smooth

Spans = tuple[Span, Span, Span]  # of hue, saturation and value


@dataclass(frozen=True)
class Backdrop:
    """A background: ``rgb`` (H, W, 3) in 0..1, and ``horizon``, the share of the height above the ground."""

    rgb: Array
    horizon: float


def sky(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Clouds on a blue, grey or evening sky; no ground."""
    top = paint.colour(rng, (0.53, 0.62), (0.1, 0.65), (0.5, 0.9))
    evening = rng.random() < 0.25
    low = (
        paint.colour(rng, (0.02, 0.13), (0.2, 0.6), (0.7, 0.95)) if evening else paint.grey(rng, (0.75, 0.95))
    )
    stretched = cv2.resize(noise(rng, height, width // 2 + 1, rng.uniform(14, 40), 4), (width, height))
    cover = np.clip((stretched - rng.uniform(-0.2, 0.7)) * rng.uniform(0.6, 1.4), 0, 0.9)[..., None]
    shade = (1 - 0.15 * np.clip(stretched, 0, 1))[..., None]
    cloud = np.asarray(paint.grey(rng, (0.75, 1.0)), np.float32) * shade
    return Backdrop(_ramp(height, width, top, low) * (1 - cover) + cloud * cover, 0.95)


def sea(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky over rippled water, sometimes an island at the horizon."""
    ground: Spans = ((0.47, 0.6), (0.35, 0.75), (0.35, 0.65))
    hills: Spans = ((0.25, 0.6), (0.1, 0.35), (0.3, 0.5))
    found, _ = _land(rng, (height, width), (hills, int(rng.integers(0, 2)), 0.12), ground, (5.0, 0.16))
    return found


def meadow(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky, hills, and grass with blades in the foreground."""
    ground: Spans = ((0.14, 0.33), (0.35, 0.65), (0.35, 0.62))
    hills: Spans = ((0.22, 0.5), (0.15, 0.45), (0.3, 0.6))
    found, grass = _land(rng, (height, width), (hills, int(rng.integers(1, 4)), 0.2), ground, (0.5, 0.2))
    line = found.horizon * height
    for _ in range(int(rng.integers(20, 60))):
        x, y = rng.uniform(0, width), rng.uniform(line, height * 1.05)
        tall = 0.12 * (y - line) + 2
        lean = rng.uniform(-0.4, 0.4) * tall
        blade = limb([(x, y), (x + lean * 0.4, y - tall * 0.6), (x + lean, y - tall)], [0.9, 0.7, 0.2])
        _stroke(found.rgb, blade, paint.darker(grass, rng.uniform(0.55, 1.35)))
    return found


def desert(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky, dunes or table mountains, dry ground with stones."""
    ground: Spans = ((0.05, 0.13), (0.25, 0.5), (0.55, 0.82))
    hills: Spans = ((0.02, 0.1), (0.25, 0.55), (0.45, 0.7))
    found, sand = _land(rng, (height, width), (hills, int(rng.integers(1, 3)), 0.25), ground, (2.0, 0.14))
    for _ in range(int(rng.integers(3, 14))):
        y = rng.uniform(found.horizon * height + 2, height)
        stone = ellipse(rng.uniform(0, width), y, *(rng.uniform(0.5, 1.5, 2) * 0.02 * y))
        _stroke(found.rgb, stone, paint.darker(sand, rng.uniform(0.45, 0.8)))
    return found


def street(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """House fronts with windows, a pavement, and a road with markings."""
    rgb = sky(rng, height, width).rgb
    line = int(height * rng.uniform(0.35, 0.55))
    left = -rng.uniform(0, 0.2) * width
    while left < width:
        right, top = left + rng.uniform(0.18, 0.45) * width, line * rng.uniform(0.0, 0.55)
        wall = paint.colour(rng, (0.0, 0.7), (0.05, 0.4), (0.4, 0.85))
        _block(rgb, (left, top), (right - left, line - top), wall)
        glass = paint.colour(rng, (0.5, 0.65), (0.05, 0.3), (0.15, 0.75))
        xs = np.linspace(left, right, int(rng.integers(3, 6)))
        ys = np.linspace(top, line, int(rng.integers(3, 6)))
        wide, high = xs[1] - xs[0], ys[1] - ys[0]
        for x in xs[:-1] + 0.25 * wide:
            for y in ys[:-1] + 0.25 * high:
                tone = paint.darker(glass, rng.uniform(0.7, 1.2))
                _block(rgb, (x, y), (wide * 0.5, high * 0.55), tone)
        left = right
    rgb[line:] = _ground(rng, height - line, width, paint.grey(rng, (0.25, 0.5)), (2.0, 0.1))
    kerb = line + int(0.08 * height)
    rgb[line:kerb] *= 1.45
    rgb[kerb : kerb + 2] *= 0.6
    y = rng.uniform(0.6, 0.85) * (height - kerb) + kerb
    for x in np.arange(rng.uniform(-30, 0), width, 34.0):
        _block(rgb, (x, y), (17, 4), (0.85, 0.85, 0.8))
    return Backdrop(rgb, line / height)


def reef(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Under water: light from above, sand or gravel, weed, rocks and corals."""
    deep = paint.colour(rng, (0.45, 0.62), (0.5, 0.85), (0.2, 0.45))
    bright = paint.colour(rng, (0.45, 0.55), (0.3, 0.6), (0.6, 0.85))
    rgb = _ramp(height, width, bright, deep) * (1 + 0.12 * noise(rng, height, width, 40))[..., None]
    fading = np.linspace(0.25, 0, height, dtype=np.float32)[:, None]
    rgb += (np.clip(noise(rng, 1, width, 16, 2), 0, 1) * fading)[..., None]
    line = int(height * rng.uniform(0.68, 0.85))
    _ridge(rng, rgb, line, paint.darker(deep, 0.8), 0.2 * height)
    bed = paint.colour(rng, (0.08, 0.14), (0.15, 0.35), (0.45, 0.75))
    rgb[line:] = _ground(rng, height - line, width, bed, (1.5, 0.25))
    for _ in range(int(rng.integers(3, 9))):
        x, tone = rng.uniform(0, width), paint.colour(rng, (0.2, 0.95), (0.3, 0.8), (0.25, 0.6))
        foot, reach = rng.uniform(line, height), rng.uniform(0.1, 0.45) * height
        near, far = x + rng.uniform(-0.3, 0.3, 2) * reach
        weed = [(x, foot), (near, foot - reach * 0.5), (far, foot - reach)]
        _stroke(rgb, limb(weed, rng.uniform(1, 5) * np.array([1.0, 0.8, 0.3])), tone)
    return Backdrop(rgb, line / height)


def leaves(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """A close-up of leaves, the farther ones out of focus."""
    green = paint.colour(rng, (0.2, 0.36), (0.4, 0.75), (0.2, 0.5))
    rgb = _ramp(height, width, green, paint.darker(green, 0.6))
    rgb = rgb * (1 + 0.3 * noise(rng, height, width, 30))[..., None]
    number = int(rng.integers(8, 16))
    for k in range(number):
        tone = paint.colour(rng, (0.17, 0.38), (0.35, 0.8), (0.25, 0.7))
        long = rng.uniform(0.3, 0.8) * width
        wide, half = long * rng.uniform(0.15, 0.28), long / 2
        turn, centre = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 2) * [width, height]
        outline = rotate(smooth([(-half, 0), (0, -wide), (half, 0), (0, wide)]), turn) + centre
        _stroke(rgb, off(outline, 2, 3), paint.darker(tone, 0.35))
        _stroke(rgb, outline, tone)
        rib = rotate(limb([(-half, 0), (0, 0), (half, 0)], [1.0, 0.8, 0.3]), turn) + centre
        _stroke(rgb, rib, paint.darker(tone, 1.35))
        if k == number * 2 // 3:
            rgb[:] = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(1.5, 3.5)))
    return Backdrop(rgb * (1 + 0.06 * noise(rng, height, width, 6, 2))[..., None], 0.25)


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
    rgb = np.asarray(tone, dtype=np.float32) * value.astype(np.float32)[..., None]
    return Backdrop(rgb * (1 + 0.08 * noise(rng, height, width, 50))[..., None], 0.2)


SCENES: dict[str, Callable[[np.random.Generator, int, int], Backdrop]] = {
    scene.__name__: scene for scene in (sea, street, meadow, desert, sky, reef, leaves, table)
}


def _land(
    rng: np.random.Generator,
    size: tuple[int, int],
    ridges: tuple[Spans, int, float],
    ground: Spans,
    texture: Span,
) -> tuple[Backdrop, Colour]:
    """Sky, ridges (colours, number, height as a share), ground; also the ground's colour."""
    height, width = size
    rgb = sky(rng, height, width).rgb
    line = int(height * rng.uniform(0.25, 0.5))
    for _ in range(ridges[1]):
        _ridge(rng, rgb, line, paint.colour(rng, *ridges[0]), ridges[2] * height)
    tone = paint.colour(rng, *ground)
    rgb[line:] = _ground(rng, height - line, width, tone, texture)
    return Backdrop(rgb, line / height), tone


def _ramp(height: int, width: int, top: Colour, bottom: Colour) -> Array:
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share
    return np.repeat(rows, width, axis=1)


def _ground(rng: np.random.Generator, height: int, width: int, tone: Colour, texture: Span) -> Array:
    """A level surface in perspective, fine at the horizon (top row); texture: sideways stretch, strength."""
    stretch, strength = texture
    share = (np.arange(height, dtype=np.float32) + 1) / max(height, 1)
    depth = 1 / (0.15 + 0.85 * share)
    xs = (np.arange(width, dtype=np.float32)[None] - width / 2) * depth[:, None] * (0.8 / stretch) + 48
    ys = np.repeat(70 * depth[:, None], width, axis=1)
    flat = noise(rng, 96, 96, 8, 3)
    lumps = cv2.remap(flat, xs.astype(np.float32), ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    lumps = lumps + 0.6 * noise(rng, height, width, 3, 1)
    return np.asarray(tone, np.float32) * ((0.8 + 0.25 * share)[:, None] * (1 + strength * lumps))[..., None]


def _ridge(rng: np.random.Generator, rgb: Array, line: int, tone: Colour, reach: float) -> None:
    """A hill line that ends at row ``line``, up to ``reach`` high."""
    width = rgb.shape[1]
    profile = line - reach * (0.5 + 0.5 * noise(rng, 1, width, rng.uniform(20, 70))[0])
    rows = np.arange(rgb.shape[0], dtype=np.float32)[:, None]
    cover = (np.clip(rows - profile + 0.5, 0, 1) * (rows < line))[..., None]
    texture = 1 + 0.15 * noise(rng, rgb.shape[0], width, 7, 2)[..., None]
    rgb += (np.asarray(tone, np.float32) * texture - rgb) * cover


def _block(rgb: Array, corner: tuple[float, float], size: tuple[float, float], tone: Colour) -> None:
    (left, top), (wide, high) = corner, size
    outline = [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)]
    _stroke(rgb, outline, tone)


def _stroke(rgb: Array, outline: Points, tone: Colour) -> None:
    """Fill an outline, in pixels, with one colour."""
    cv2.fillPoly(rgb, [np.round(np.asarray(outline) * 16).astype(np.int32)], tone, cv2.LINE_8, 4)
