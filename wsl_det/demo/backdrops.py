"""Where pictures are taken: sea, street, meadow, desert, sky, reef, leaves and a table top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Colour, noise
from wsl_det.demo.shapes import Array, ellipse, limb, smooth


@dataclass(frozen=True)
class Backdrop:
    """A background: ``rgb`` (H, W, 3) in 0..1, and ``horizon``, the share of the height above the ground."""

    rgb: Array
    horizon: float


def sky(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Clouds on a blue, grey or evening sky; no ground."""
    return Backdrop(_sky(rng, height, width), 0.95)


def sea(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky over rippled water, sometimes an island at the horizon."""
    rgb = _sky(rng, height, width)
    line = int(height * rng.uniform(0.3, 0.5))
    if rng.random() < 0.5:
        _ridge(rng, rgb, line, paint.colour(rng, (0.25, 0.6), (0.1, 0.35), (0.3, 0.5)), 0.12 * height)
    water = paint.colour(rng, (0.47, 0.6), (0.35, 0.75), (0.35, 0.65))
    rgb[line:] = _ground(rng, height - line, width, water, stretch=5.0, strength=0.16)
    return Backdrop(rgb, line / height)


def meadow(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky, hills, and grass with blades in the foreground."""
    rgb = _sky(rng, height, width)
    line = int(height * rng.uniform(0.25, 0.5))
    for _ in range(int(rng.integers(1, 4))):
        _ridge(rng, rgb, line, paint.colour(rng, (0.22, 0.5), (0.15, 0.45), (0.3, 0.6)), 0.2 * height)
    grass = paint.colour(rng, (0.14, 0.33), (0.35, 0.65), (0.35, 0.62))
    rgb[line:] = _ground(rng, height - line, width, grass, stretch=0.5, strength=0.2)
    _blades(rng, rgb, line, grass, int(rng.integers(20, 60)))
    return Backdrop(rgb, line / height)


def desert(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Sky, dunes or table mountains, dry ground with stones."""
    rgb = _sky(rng, height, width)
    line = int(height * rng.uniform(0.25, 0.5))
    for _ in range(int(rng.integers(1, 3))):
        _ridge(rng, rgb, line, paint.colour(rng, (0.02, 0.1), (0.25, 0.55), (0.45, 0.7)), 0.25 * height)
    sand = paint.colour(rng, (0.05, 0.13), (0.25, 0.5), (0.55, 0.82))
    rgb[line:] = _ground(rng, height - line, width, sand, stretch=2.0, strength=0.14)
    for _ in range(int(rng.integers(3, 14))):
        y = rng.uniform(line + 2, height)
        stone = ellipse(rng.uniform(0, width), y, *(rng.uniform(0.5, 1.5, 2) * 0.02 * y))
        _stroke(rgb, stone, paint.darker(sand, rng.uniform(0.45, 0.8)))
    return Backdrop(rgb, line / height)


def street(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """House fronts with windows, a pavement, and a road with markings."""
    rgb = _sky(rng, height, width)
    line = int(height * rng.uniform(0.35, 0.55))
    left = -rng.uniform(0, 0.2) * width
    while left < width:
        right = left + rng.uniform(0.18, 0.45) * width
        _house(rng, rgb, left=left, right=right, top=line * rng.uniform(0.0, 0.55), bottom=line)
        left = right
    asphalt = paint.grey(rng, (0.25, 0.5))
    rgb[line:] = _ground(rng, height - line, width, asphalt, stretch=2.0, strength=0.1)
    kerb = line + int(0.08 * height)
    rgb[line:kerb] *= 1.45
    rgb[kerb : kerb + 2] *= 0.6
    y = rng.uniform(0.6, 0.85) * (height - kerb) + kerb
    for x in np.arange(rng.uniform(-30, 0), width, 34.0):
        dash = np.array([(x, y), (x + 18, y), (x + 16, y + 4), (x - 3, y + 4)], np.float32)
        _stroke(rgb, dash, (0.85, 0.85, 0.8))
    return Backdrop(rgb, line / height)


def reef(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Under water: light from above, sand or gravel, weed, rocks and corals."""
    deep = paint.colour(rng, (0.45, 0.62), (0.5, 0.85), (0.2, 0.45))
    bright = paint.colour(rng, (0.45, 0.55), (0.3, 0.6), (0.6, 0.85))
    rgb = _ramp(height, width, bright, deep) * (1 + 0.12 * noise(rng, height, width, 40))[..., None]
    rays = (
        np.clip(noise(rng, 1, width, 16, 2), 0, 1) * np.linspace(0.25, 0, height, dtype=np.float32)[:, None]
    )
    rgb += rays[..., None]
    line = int(height * rng.uniform(0.68, 0.85))
    _ridge(rng, rgb, line, paint.darker(deep, 0.8), 0.2 * height)
    bed = paint.colour(rng, (0.08, 0.14), (0.15, 0.35), (0.45, 0.75))
    rgb[line:] = _ground(rng, height - line, width, bed, stretch=1.5, strength=0.25)
    for _ in range(int(rng.integers(3, 9))):
        x, tone = rng.uniform(0, width), paint.colour(rng, (0.2, 0.95), (0.3, 0.8), (0.25, 0.6))
        reach = rng.uniform(0.1, 0.45) * height
        sway = rng.uniform(-0.3, 0.3, 2) * reach
        foot = rng.uniform(line, height)
        spine = [(x, foot), (x + sway[0], foot - reach * 0.5), (x + sway[1], foot - reach)]
        _stroke(rgb, limb(spine, rng.uniform(1, 5) * np.array([1.0, 0.8, 0.3])), tone)
    return Backdrop(rgb, line / height)


def leaves(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """A close-up of leaves, the farther ones out of focus."""
    green = paint.colour(rng, (0.2, 0.36), (0.4, 0.75), (0.2, 0.5))
    rgb = (
        _ramp(height, width, green, paint.darker(green, 0.6))
        * (1 + 0.3 * noise(rng, height, width, 30))[..., None]
    )
    number = int(rng.integers(8, 16))
    for k in range(number):
        tone = paint.colour(rng, (0.17, 0.38), (0.35, 0.8), (0.25, 0.7))
        _leaf(rng, rgb, tone)
        if k == number * 2 // 3:
            rgb[:] = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(1.5, 3.5)))
    return Backdrop(rgb * (1 + 0.06 * noise(rng, height, width, 6, 2))[..., None], 0.25)


def table(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Something flat seen from above: planks, a woven or checked cloth, sand, stone."""
    tone = paint.colour(rng, (0.02, 0.14), (0.1, 0.6), (0.4, 0.85))
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    across, along = xs * np.cos(turn) + ys * np.sin(turn), ys * np.cos(turn) - xs * np.sin(turn)
    style = rng.integers(4)
    if style == 0:  # planks, with grain along them
        period = rng.uniform(22, 45)
        streaks = noise(rng, height, width, 5, 2)
        value = 0.85 + 0.1 * np.sin(across * 0.9 + 3 * streaks) - 0.4 * (np.abs(across % period) < 1.5)
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
    "sea": sea,
    "street": street,
    "meadow": meadow,
    "desert": desert,
    "sky": sky,
    "reef": reef,
    "leaves": leaves,
    "table": table,
}


def _sky(rng: np.random.Generator, height: int, width: int) -> Array:
    top = paint.colour(rng, (0.53, 0.62), (0.1, 0.65), (0.5, 0.9))
    evening = rng.random() < 0.25
    low = (
        paint.colour(rng, (0.02, 0.13), (0.2, 0.6), (0.7, 0.95)) if evening else paint.grey(rng, (0.75, 0.95))
    )
    rgb = _ramp(height, width, top, low)
    stretched = cv2.resize(noise(rng, height, width // 2 + 1, rng.uniform(14, 40), 4), (width, height))
    cover = np.clip((stretched - rng.uniform(-0.2, 0.7)) * rng.uniform(0.6, 1.4), 0, 0.9)[..., None]
    cloud = (
        np.asarray(paint.grey(rng, (0.75, 1.0)), np.float32)
        * (1 - 0.15 * np.clip(stretched, 0, 1))[..., None]
    )
    return rgb * (1 - cover) + cloud * cover


def _ramp(height: int, width: int, top: Colour, bottom: Colour) -> Array:
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share
    return np.repeat(rows, width, axis=1)


def _ground(
    rng: np.random.Generator, height: int, width: int, tone: Colour, *, stretch: float, strength: float
) -> Array:
    """A level surface in perspective: its texture is fine at the horizon (top row), coarse at the feet."""
    flat = noise(rng, 96, 96, 8, 3)
    share = (np.arange(height, dtype=np.float32) + 1) / max(height, 1)
    depth = 1 / (0.15 + 0.85 * share)
    xs = (np.arange(width, dtype=np.float32)[None] - width / 2) * depth[:, None] * (0.8 / stretch) + 48
    ys = np.repeat(70 * depth[:, None], width, axis=1)
    texture = cv2.remap(flat, xs.astype(np.float32), ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    texture = texture + 0.6 * noise(rng, height, width, 3, 1)
    shade = (0.8 + 0.25 * share)[:, None] * (1 + strength * texture)
    return np.asarray(tone, np.float32) * shade[..., None]


def _ridge(rng: np.random.Generator, rgb: Array, line: int, tone: Colour, reach: float) -> None:
    """A hill line that ends at row ``line``, up to ``reach`` high."""
    width = rgb.shape[1]
    profile = line - reach * (0.5 + 0.5 * noise(rng, 1, width, rng.uniform(20, 70))[0])
    rows = np.arange(rgb.shape[0], dtype=np.float32)[:, None]
    cover = (np.clip(rows - profile + 0.5, 0, 1) * (rows < line))[..., None]
    texture = 1 + 0.15 * noise(rng, rgb.shape[0], width, 7, 2)[..., None]
    rgb += (np.asarray(tone, np.float32) * texture - rgb) * cover


def _house(
    rng: np.random.Generator, rgb: Array, *, left: float, right: float, top: float, bottom: float
) -> None:
    wall = paint.colour(rng, (0.0, 0.7), (0.05, 0.4), (0.4, 0.85))
    _stroke(rgb, np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32), wall)
    glass = paint.colour(rng, (0.5, 0.65), (0.05, 0.3), (0.15, 0.75))
    across, down = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    step_x, step_y = (right - left) / across, (bottom - top) / down
    for i in range(across):
        for j in range(down):
            x, y = left + (i + 0.25) * step_x, top + (j + 0.25) * step_y
            pane = [
                (x, y),
                (x + step_x * 0.5, y),
                (x + step_x * 0.5, y + step_y * 0.55),
                (x, y + step_y * 0.55),
            ]
            _stroke(rgb, np.array(pane, np.float32), paint.darker(glass, rng.uniform(0.7, 1.2)))


def _blades(rng: np.random.Generator, rgb: Array, line: int, tone: Colour, number: int) -> None:
    height, width = rgb.shape[:2]
    for _ in range(number):
        y = rng.uniform(line, height * 1.05)
        tall = 0.12 * (y - line) + 2
        x, lean = rng.uniform(0, width), rng.uniform(-0.4, 0.4) * tall
        blade = limb([(x, y), (x + lean * 0.4, y - tall * 0.6), (x + lean, y - tall)], [0.9, 0.7, 0.2])
        _stroke(rgb, blade, paint.darker(tone, rng.uniform(0.55, 1.35)))


def _leaf(rng: np.random.Generator, rgb: Array, tone: Colour) -> None:
    height, width = rgb.shape[:2]
    long = rng.uniform(0.3, 0.8) * width
    wide = long * rng.uniform(0.15, 0.28)
    turn, centre = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 2) * [width, height]
    cos, sin = np.cos(turn), np.sin(turn)
    outline = smooth([(-long / 2, 0), (0, -wide), (long / 2, 0), (0, wide)])
    placed = outline @ np.array([[cos, sin], [-sin, cos]]) + centre
    _stroke(rgb, placed + np.array([2, 3], np.float32), paint.darker(tone, 0.35))
    _stroke(rgb, placed.astype(np.float32), tone)
    rib = np.array([(-long / 2, 0), (0, 0), (long / 2, 0)]) @ np.array([[cos, sin], [-sin, cos]]) + centre
    _stroke(rgb, limb(rib, [1.0, 0.8, 0.3]), paint.darker(tone, 1.35))


def _stroke(rgb: Array, outline: Array, tone: Colour) -> None:
    """Fill an outline, in pixels, with one colour."""
    fixed = np.round(outline * 16).astype(np.int32)
    cv2.fillPoly(rgb, [fixed], tone, lineType=cv2.LINE_8, shift=4)
