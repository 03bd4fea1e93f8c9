"""One object becomes a small picture with transparency: parts painted, shaded, laid over one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsl_det.demo.paint import Fill, noise
from wsl_det.demo.shapes import Array, Points, ellipse, limb, smooth

_FINE = 2  # drawn this many times larger, then averaged: what makes edges and patterns smooth
_SUBPIXEL = 4  # fractional bits of the coordinates given to OpenCV
_MARGIN = 3  # pixels of the fine canvas around the object


@dataclass(frozen=True)
class Part:
    """A piece of an object: closed outlines (even-odd filled), paint, and how much it bulges (0 is flat)."""

    outlines: Sequence[Array]
    fill: Fill
    bulge: float = 0.6


@dataclass(frozen=True)
class Light:
    """Where light comes from: unit vector (right, down, to the viewer), and the ambient share."""

    direction: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Sprite:
    """An object's picture: ``rgb`` (H, W, 3) and ``alpha`` (H, W), both float32 in 0..1."""

    rgb: Array
    alpha: Array


@dataclass(frozen=True)
class Pose:
    """How an object is seen: longest side in pixels, turn in radians, mirrored, width factor."""

    size: float
    angle: float = 0.0
    mirror: bool = False
    squash: float = 1.0


class Parts(list[Part]):
    """The parts of an object, drawn one over another in the order in which they are added."""

    def shape(self, corners: Points, fill: Fill, bulge: float = 0.6, rounds: int = 2) -> None:
        """An outline through ``corners``, each cut ``rounds`` times."""
        self.append(Part([smooth(corners, rounds)], fill, bulge))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill, bulge: float = 0.6) -> None:  # noqa: PLR0917
        """An upright ellipse around (x, y)."""
        self.append(Part([ellipse(x, y, rx, ry)], fill, bulge))

    def box(  # noqa: PLR0917
        self, left: float, top: float, right: float, bottom: float, fill: Fill, bulge: float = 0.6,
        corner: float = 0.25,
    ) -> None:  # fmt: skip
        """A rectangle whose corners are rounded by ``corner`` (0..0.5) of its short side."""
        cut = corner * min(right - left, bottom - top)
        xs, ys = (left, left + cut, right - cut, right), (top, top + cut, bottom - cut, bottom)
        turns = ((1, 0), (2, 0), (3, 1), (3, 2), (2, 3), (1, 3), (0, 2), (0, 1))
        self.shape([(xs[i], ys[j]) for i, j in turns], fill, bulge, 1)

    def limb(self, points: Points, widths: float | Sequence[float], fill: Fill, bulge: float = 0.6) -> None:
        """A tapered, bent strip; ``widths`` is its half width, one or one for each point."""
        self.append(Part([limb(points, widths)], fill, bulge))

    def ring(self, x: float, y: float, radius: float, width: float, fill: Fill) -> None:
        """A circle with a hole."""
        inner = radius - width
        self.append(Part([ellipse(x, y, radius, radius), ellipse(x, y, inner, inner)], fill))


def render(parts: Sequence[Part], pose: Pose, light: Light, rng: np.random.Generator) -> Sprite:
    """Draw ``parts`` in order, later ones on top."""
    matrix, offset, shape = _placement(parts, pose)
    rgb = np.zeros((*shape, 3), dtype=np.float32)
    alpha = np.zeros(shape, dtype=np.float32)
    grain = noise(rng, *shape, cell=max(6.0, 0.05 * max(shape)), octaves=2)
    for piece in parts:
        _lay(Sprite(rgb, alpha), grain, piece, (matrix, offset), light)
    size = (shape[1] // _FINE, shape[0] // _FINE)
    coverage = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    # The colour is averaged over covered pixels only, else dark rims appear.
    colour = cv2.resize(rgb * alpha[..., None], size, interpolation=cv2.INTER_AREA)
    return Sprite(colour / np.maximum(coverage, 1e-4)[..., None], coverage)


def _placement(parts: Sequence[Part], pose: Pose) -> tuple[Array, Array, tuple[int, int]]:
    """Matrix and offset from object coordinates to the fine canvas, and the canvas shape (H, W)."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    squash = -pose.squash if pose.mirror else pose.squash
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([squash, 1.0])
    points = np.concatenate([o for p in parts for o in p.outlines]) @ turn.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = pose.size * _FINE / float((high - low).max())
    offset = (_MARGIN - low * scale).astype(np.float32)
    width, height = (int(np.ceil(v / _FINE)) * _FINE for v in (high - low) * scale + 2 * _MARGIN)
    return (turn * scale).astype(np.float32), offset, (height, width)


def _lay(canvas: Sprite, grain: Array, piece: Part, placed: tuple[Array, Array], light: Light) -> None:
    """Paint one part into its window of the fine canvas, in place; all parts share the surface noise."""
    rgb, alpha = canvas.rgb, canvas.alpha
    matrix, offset = placed
    outlines, back = [o @ matrix.T + offset for o in piece.outlines], np.linalg.inv(matrix)
    left, top, right, bottom = _window(outlines, alpha.shape)
    mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
    corner = np.array([left, top], dtype=np.float32)
    fixed = [np.round((o - corner) * 2**_SUBPIXEL).astype(np.int32) for o in outlines]
    cv2.fillPoly(mask, fixed, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL)
    covered = mask.astype(np.float32) / 255
    window = np.s_[top:bottom, left:right]
    shade, shine = _shading(mask, piece, light)
    dx = np.arange(left, right, dtype=np.float32) - offset[0]
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] - offset[1]
    flat = piece.fill.colours(dx * back[0, 0] + dy * back[0, 1], dx * back[1, 0] + dy * back[1, 1])
    painted = flat * (shade * (1 + piece.fill.grain * grain[window]))[..., None] + shine
    # Parts darken what lies just behind their edges, which separates a limb from the body.
    near = cv2.blur(covered, (7, 7))
    below = rgb[window] * (1 - 0.35 * near)[..., None]
    rgb[window] = below + (painted - below) * covered[..., None]
    alpha[window] = np.maximum(alpha[window], covered)


def _window(outlines: list[Array], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    points = np.concatenate(outlines)
    left, top = (max(int(v) - 2, 0) for v in points.min(axis=0))
    right = min(int(points[:, 0].max()) + 3, shape[1])
    bottom = min(int(points[:, 1].max()) + 3, shape[0])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _shading(mask: npt.NDArray[np.uint8], piece: Part, light: Light) -> tuple[Any, Any]:
    """Light (H, W) and highlight (H, W, 1) on a part that bulges as a cushion does; numbers where flat."""
    lx, ly, lz = light.direction
    if piece.bulge == 0:
        return np.float32(light.ambient + (1.25 - light.ambient) * lz), np.float32(0)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    radius = float(depth.max()) + 1e-3
    inner = np.clip(depth / radius, 0, 1)
    height = cv2.blur(np.sqrt(1 - (1 - inner) ** 2), (3, 3)) * radius * piece.bulge
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    length = np.sqrt(1 + gx * gx + gy * gy)
    lambert = np.clip((lz - gx * lx - gy * ly) / length, 0, 1)
    shade = light.ambient + (1.25 - light.ambient) * lambert
    if piece.fill.gloss == 0:
        return shade, np.float32(0)
    shine = np.square(np.square(np.square(lambert)))  # by squares: a general power is far slower
    return shade, (piece.fill.gloss * shine * shine * shine)[..., None]
