"""Crop, shortest-edge resize, flip: image, boxes, polygons and masks move together, as in Detectron2.

Pure: what is random is drawn from the ``Generator`` that comes in. Images are (H, W, 3) uint8,
polygons flat float64 arrays, masks (H, W) uint8; boxes are x1 y1 x2 y2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wsl_det.errors import ConfigError


@dataclass(frozen=True)
class Resize:
    """To ``height`` x ``width``; pixels bilinear, masks nearest, both by PIL (Detectron2's choice)."""

    old_height: int
    old_width: int
    height: int
    width: int

    def image(self, image: np.ndarray) -> np.ndarray:
        """Detectron2 resizes even to the same size; PIL returns the pixels unchanged then."""
        resized = Image.fromarray(image).resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(resized)

    def points(self, xy: np.ndarray) -> np.ndarray:
        """(N, 2) points, scaled per axis."""
        return xy * [self.width * 1.0 / self.old_width, self.height * 1.0 / self.old_height]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) uint8 mask, nearest neighbour."""
        resized = Image.fromarray(mask).resize((self.width, self.height), Image.Resampling.NEAREST)
        return np.asarray(resized)


@dataclass(frozen=True)
class Flip:
    """Mirrors left-right, or top-bottom when ``vertical``; ``extent`` is the width or the height."""

    extent: int
    vertical: bool = False

    def image(self, image: np.ndarray) -> np.ndarray:
        """Mirrored pixels."""
        return image[::-1] if self.vertical else image[:, ::-1]

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Coordinates are continuous: x becomes extent - x, not extent - 1 - x."""
        moved = xy.copy()
        moved[:, int(self.vertical)] = self.extent - moved[:, int(self.vertical)]
        return moved

    mask = image


@dataclass(frozen=True)
class Crop:
    """The ``width`` x ``height`` window whose upper left corner is (x, y)."""

    x: int
    y: int
    width: int
    height: int

    def image(self, image: np.ndarray) -> np.ndarray:
        """The window's pixels."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Coordinates in the window's frame; points outside stay outside."""
        return xy - [self.x, self.y]

    mask = image


Transform = Resize | Flip | Crop
"""One geometric step from a source frame to a target frame."""


@dataclass(frozen=True)
class Geometry:
    """Steps applied in order; ``height`` and ``width`` are those of the result."""

    steps: tuple[Transform, ...]
    height: int
    width: int

    def image(self, image: np.ndarray) -> np.ndarray:
        """(3, height, width) uint8, contiguous."""
        for step in self.steps:
            image = step.image(image)
        return np.ascontiguousarray(image.transpose(2, 0, 1))

    def boxes(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """(N, 4) float64 boxes around the moved corners, clipped to the result."""
        x1, y1, x2, y2 = boxes_xyxy.reshape(-1, 4).T
        corners = np.stack([x1, y1, x2, y1, x1, y2, x2, y2], axis=1).reshape(-1, 2)
        for step in self.steps:
            corners = step.points(corners)
        moved = corners.reshape(-1, 4, 2)
        clipped = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).clip(min=0)
        return np.minimum(clipped, [self.width, self.height, self.width, self.height])

    def polygons(self, polygons: Iterable[np.ndarray]) -> list[np.ndarray]:
        """One object's polygons, cut at a crop's border; those cut away altogether are absent."""
        found = [polygon.reshape(-1, 2) for polygon in polygons]
        for step in self.steps:
            found = [step.points(xy) for xy in found]
            if isinstance(step, Crop):
                cut = (clip_polygon(xy, step.width, step.height) for xy in found)
                found = [xy for xy in cut if len(xy) >= 3]
        return [xy.reshape(-1) for xy in found]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(height, width) uint8."""
        for step in self.steps:
            mask = step.mask(mask)
        return np.ascontiguousarray(mask)


def shortest_edge(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """Height and width with the shorter edge at ``size``, unless the longer would exceed ``max_size``."""
    scale = size * 1.0 / min(height, width)
    # Detectron2 sets the shorter edge to ``size`` itself: scale * edge could round differently.
    new_h, new_w = (float(size), scale * width) if height < width else (scale * height, float(size))
    if max(new_h, new_w) > max_size:
        scale = max_size * 1.0 / max(new_h, new_w)
        new_h, new_w = new_h * scale, new_w * scale
    return int(new_h + 0.5), int(new_w + 0.5)


def clip_polygon(xy: np.ndarray, width: float, height: float) -> np.ndarray:
    """(N, 2) polygon cut to the rectangle 0..width x 0..height (Sutherland and Hodgman, 1974).

    A part that falls into several pieces stays one polygon whose bridges run along the border,
    where they cover nothing. Detectron2 cuts with shapely; the covered area is the same.
    """
    for axis, bound, sign in (
        (0, 0.0, 1.0),
        (0, float(width), -1.0),
        (1, 0.0, 1.0),
        (1, float(height), -1.0),
    ):
        if not len(xy):
            break
        depth = sign * (xy[:, axis] - bound)
        kept: list[np.ndarray] = []
        for i in range(len(xy)):
            before, here = depth[i - 1], depth[i]
            if (before < 0) != (here < 0):
                kept.append(xy[i - 1] + (xy[i] - xy[i - 1]) * (before / (before - here)))
            if here >= 0:
                kept.append(xy[i])
        xy = np.array(kept).reshape(-1, 2)
    return xy


@dataclass(frozen=True)
class Augmentation:
    """What INPUT asks for, translated: draws one ``Geometry`` for an image.

    sizes: lengths of the shortest edge, a choice among them or, with ``sample_range``, the ends of
    an interval; 0 leaves the size alone. flip: "horizontal", "vertical" or "none". crop: Detectron2's
    type and size, or None.
    """

    sizes: Sequence[int]
    max_size: int
    sample_range: bool = False
    flip: str = "none"
    crop: tuple[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        kind, (first, second) = self.crop or ("", (1, 1))
        if kind.startswith("relative") and max(first, second) > 1:
            raise ConfigError(f"INPUT.CROP.SIZE is {[first, second]}; expected shares for {kind}")
        if kind.startswith("absolute") and (min(first, second) < 1 or (kind[8:] and first > second)):
            raise ConfigError(f"INPUT.CROP.SIZE is {[first, second]}; expected rising pixels for {kind}")
        if self.sample_range and (len(self.sizes) != 2 or self.sizes[0] > self.sizes[1]):
            raise ConfigError(
                f"INPUT.MIN_SIZE_TRAIN is {tuple(self.sizes)}; expected two rising sizes of a range"
            )

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Geometry:
        """Crop, resize, flip, in Detectron2's order, for an image of this size."""
        steps: list[Transform] = []
        if self.crop:
            crop = _draw_crop(self.crop, height, width, rng)
            steps.append(crop)
            height, width = crop.height, crop.width
        if self.sample_range:
            size = int(rng.integers(self.sizes[0], self.sizes[1] + 1))
        else:
            size = int(self.sizes[int(rng.integers(len(self.sizes)))])
        if size:
            new = shortest_edge(height, width, size, self.max_size)
            steps.append(Resize(height, width, *new))
            height, width = new
        if self.flip != "none" and rng.uniform() < 0.5:
            vertical = self.flip == "vertical"
            steps.append(Flip(height if vertical else width, vertical))
        return Geometry(tuple(steps), height, width)


def _draw_crop(
    crop: tuple[str, tuple[float, float]], height: int, width: int, rng: np.random.Generator
) -> Crop:
    kind, (first, second) = crop
    if kind == "absolute":
        h, w = min(int(first), height), min(int(second), width)
    elif kind == "absolute_range":
        low, high = int(first), int(second)
        h = int(rng.integers(min(height, low), min(height, high) + 1))
        w = int(rng.integers(min(width, low), min(width, high) + 1))
    else:
        share: np.ndarray = np.asarray((first, second), dtype=np.float32)
        if kind == "relative_range":
            share = share + rng.random(2) * (1 - share)
        h, w = int(height * share[0] + 0.5), int(width * share[1] + 0.5)
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return Crop(x, y, w, h)
