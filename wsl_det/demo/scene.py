"""A picture put together: backdrop, objects from far to near with their shadows, things in front, camera.

A post shows one to three objects, a detection picture up to six.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from wsl_det.demo import paint
from wsl_det.demo.backdrops import SCENES
from wsl_det.demo.catalogue import AIR, DETECTED, FLAT, GROUND, KINDS, Kind
from wsl_det.demo.paint import Array, Fill, Parts, Pose, Span, ellipse, noise, render

Mask = npt.NDArray[np.bool_]

_LEAST_VISIBLE = 0.35  # an object of which less shows is not placed: nobody would label it
_TRIES = 12
_OUT_OF_PLACE = 0.1  # share of pictures in a scene where the class does not belong
_TAIL = 0.75  # exponent of the power law of popularity in posts
_SIDES = ((128, 160), (160, 128), (144, 144), (120, 160), (144, 160))  # height, width of detection pictures


@dataclass
class Placed:
    """What has a label: its class, its whole silhouette, and what of it shows, (H, W) bool."""

    kind: Kind
    silhouette: Mask
    visible: Mask
    crowd: bool = False  # a group of one class too dense to label one by one

    def left(self, shape: Mask) -> float:
        """The share that still shows when ``shape`` is laid over it."""
        return float((self.visible & ~shape).sum() / self.silhouette.sum())


@dataclass(frozen=True)
class Scene:
    """A finished picture: (H, W, 3) uint8 RGB, what has a label in it, from far to near, and its backdrop."""

    image: npt.NDArray[np.uint8]
    objects: list[Placed]
    backdrop: str


class Canvas:
    """A picture in the making for a class; objects are put in from far to near.

    It begins with a backdrop, out of focus, and up to two things that nobody labels.
    """

    def __init__(self, rng: np.random.Generator, first: Kind, shape: tuple[int, int]) -> None:
        # A class in the wrong place now and then, so that the backdrop alone does not tell the class.
        self.backdrop = str(rng.choice(tuple(SCENES) if rng.random() < _OUT_OF_PLACE else first.scenes))
        self.rng, self.shape, self.objects = rng, shape, list[Placed]()
        rgb, self.horizon = SCENES[self.backdrop](rng, *shape)
        self.rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.4, 1.4)))
        side, down = rng.uniform(-0.6, 0.6), -rng.uniform(0.45, 0.75)
        towards = float(np.sqrt(max(1 - side**2 - down**2, 0.1)))
        self.light = (side, down, towards, float(rng.uniform(0.4, 0.6)))
        for _ in range(int(rng.integers(0, 3))):
            pose = Pose(float(rng.uniform(0.08, 0.22)) * shape[1], float(rng.uniform(-0.2, 0.2)))
            low = pose.size / shape[0]
            self._cover(_clutter(rng), pose, (-0.1, 1), (max(self.horizon, 0.1) - low, 0.95 - low), 0.6)

    def place(self, kind: Kind, size: float, foot: float | None = None) -> None:
        """Put one object of ``size`` pixels where it hides none too much, if there is such a place.

        ``foot`` is the row, as a share of the height, that it stands on. The first may turn out smaller.
        """
        for shrink in (1.0,) if self.objects else (1.0, 0.8, 0.6):
            rgba = self._sprite(kind, float(size * shrink))
            least = max(30, 0.75 * (rgba[..., 3] > 0.5).sum())
            for _ in range(_TRIES):
                left, top = self._corner(kind, rgba, foot)
                here, shape = self._at(rgba, left, top)
                shown = [placed.left(shape) for placed in self.objects]
                # Nearly coincident objects are unlabelled noise, slight overlaps the rule of the street.
                fine = all(s >= 0.75 or (s >= _LEAST_VISIBLE and self.rng.random() >= 0.6) for s in shown)
                if fine and shape.sum() >= least:
                    self._shadow(kind, here[..., 3], top + len(rgba))
                    self._paste(here, shape)
                    self.objects.append(Placed(kind, shape, shape.copy()))
                    return

    def place_crowd(self, kind: Kind, size: float, number: int) -> None:
        """Put a huddle of ``number`` small objects of one class behind everything that comes later."""
        height, width = self.shape
        # A sky or a reef has next to no ground: there the huddle stands in the picture all the same.
        low = min(max(self.horizon, 0.15), 0.6) if kind.stance == GROUND else 0.2
        x, y = self.rng.uniform(0.25, 0.75) * width, self.rng.uniform(low + 0.1, 0.7) * height
        region = np.zeros(self.shape, dtype=bool)
        for row in np.sort(self.rng.normal(y, 0.5 * size, number)):
            rgba = self._sprite(kind, size)
            left = self.rng.normal(x, 1.4 * size) - rgba.shape[1] / 2
            here, shape = self._at(rgba, int(left), int(row - len(rgba)))
            region |= shape
            self._paste(here, shape)
        if region.sum() > 40:
            self.objects.append(Placed(kind, region, region.copy(), crowd=True))

    def company(self, kinds: tuple[Kind, ...], number: int, weight: Array | float = 1.0) -> list[Kind]:
        """``number`` classes, with repetition, mostly such as are found before this backdrop."""
        fitting = weight * np.array([1 if self.backdrop in k.scenes else 0.3 * _OUT_OF_PLACE for k in kinds])
        return [kinds[k] for k in self.rng.choice(len(kinds), number, p=fitting / fitting.sum())]

    def occlude(self) -> None:
        """Put a post, a branch or a bush between the objects and the camera."""
        rng, style, parts = self.rng, self.rng.integers(3), Parts()
        wood = Fill(paint.colour(rng, (0.05, 0.4), (0.1, 0.6), (0.15, 0.5)), grain=0.25)
        if style == 0:
            parts.box(-0.035, -1.0, 0.035, 1.0, wood, 0.9, 0.1)
            pose = Pose(1.3 * self.shape[0], float(rng.uniform(-0.1, 0.1)))
            return self._cover(parts, pose, (0.1, 0.85), (-0.06, -0.06), 0.5)
        leaf = Fill(paint.colour(rng, (0.15, 0.38), (0.3, 0.7), (0.2, 0.5)), grain=0.2)
        parts.limb([(-1, 0.1), (0, 0.0), (1, -0.15)], [0.03, 0.025, 0.01], wood)
        for x in np.linspace(-0.9, 0.95, 9):
            tip = rng.uniform(-0.32, 0.32)
            parts.shape([(x, 0), (x + 0.06, tip * 0.5), (x + 0.14, tip), (x - 0.02, tip * 0.6)], leaf, 0.3)
        turn = float(rng.uniform(-0.5, 0.5)) + (np.pi / 2 if style == 2 else 0)
        size = float(rng.uniform(0.5, 0.9)) * self.shape[1]
        return self._cover(parts, Pose(size, turn), (-0.3, 0.7), (0.0, 0.8), 1.0)

    def develop(self, soft: float, noisy: float) -> Scene:
        """Let the camera see it: uneven light, white balance, contrast, vignette, blur, sensor noise."""
        rng, (height, width) = self.rng, self.shape
        ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        slope = rng.uniform(-0.18, 0.18, 2)
        light = (1 + slope[0] * xs + slope[1] * ys) * (1 - rng.uniform(0, 0.14) * (xs**2 + ys**2))
        light = light * (1 + 0.08 * noise(rng, height, width, 0.6 * width, 1))
        balance = rng.uniform(0.93, 1.07, 3) * rng.uniform(0.9, 1.3)
        rgb = np.clip(self.rgb * light[..., None] * balance, 0, 1).astype(np.float32)
        rgb = cv2.GaussianBlur(rgb ** float(rng.uniform(0.85, 1.2)), (0, 0), float(rng.uniform(0.25, soft)))
        rgb += (0.5 + np.sqrt(rgb)) * rng.standard_normal(rgb.shape, np.float32) * noisy * rng.uniform(0.3, 1)
        image = np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)
        return Scene(image, [placed for placed in self.objects if placed.visible.any()], self.backdrop)

    def _cover(self, parts: Parts, pose: Pose, across: Span, down: Span, blur: float) -> None:
        """Put something unlabelled over the picture, unless it would hide too much of an object.

        ``across`` and ``down`` are where its corner may be, as shares of the width and the height.
        """
        left, top = self.rng.uniform(*across) * self.shape[1], self.rng.uniform(*down) * self.shape[0]
        rgba = cv2.GaussianBlur(render(parts, pose, self.light, self.rng), (0, 0), blur)
        here, _ = self._at(rgba, int(left), int(top))
        shape = here[..., 3] > 0.5
        if all(placed.left(shape) >= _LEAST_VISIBLE for placed in self.objects):
            self._paste(here, shape)

    def _sprite(self, kind: Kind, size: float) -> Array:
        """A new object of a class, ``size`` pixels long, in some pose."""
        tilt = {GROUND: 0.1, AIR: 0.3, FLAT: np.pi}[kind.stance]
        squash = self.rng.choice([-1, 1]) * self.rng.uniform(0.85, 1.1)
        parts, pose = Parts(), Pose(size, self.rng.uniform(-tilt, tilt), squash)
        kind.draw(self.rng, parts)
        return render(parts, pose, self.light, self.rng)

    def _corner(self, kind: Kind, rgba: Array, foot: float | None) -> tuple[int, int]:
        """Where the sprite's upper left corner goes: at most about a fifth of it may leave the picture."""
        (height, width), (tall, wide) = self.shape, rgba.shape[:2]
        left = self.rng.uniform(-0.15 * wide, width - 0.85 * wide)
        if kind.stance != GROUND:
            limit = self.horizon * 1.1 if kind.stance == AIR and self.horizon > 0.3 else 1.0
            bottom = max(height * limit, tall) + 0.1 * tall
            return int(left), int(self.rng.uniform(-0.1 * tall, max(bottom - tall, 1)))
        if foot is None:
            foot = self.rng.uniform(min(self.horizon + 0.08, 0.9), 1.02)
        return int(left), int(foot * height - tall + self.rng.uniform(-2, 2))

    def _at(self, rgba: Array, left: int, top: int) -> tuple[Array, Mask]:
        """The sprite on a clear field of the picture's size, and what a person would outline of it."""
        move = np.array([[1, 0, left], [0, 1, top]], dtype=np.float32)
        field = cv2.warpAffine(rgba, move, self.shape[::-1], flags=cv2.INTER_NEAREST)
        inside = (field[..., 3] > 0.5).astype(np.uint8)
        # The outer border filled, so a wheel is a disk.
        borders, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return field, cv2.drawContours(inside, borders, -1, 1, thickness=cv2.FILLED).astype(bool)

    def _paste(self, rgba: Array, shape: Mask) -> None:
        """Lay a field over the picture; its ``shape`` hides what is behind it."""
        self.rgb = self.rgb * (1 - rgba[..., 3:]) + rgba[..., :3]
        for placed in self.objects:
            placed.visible &= ~shape

    def _shadow(self, kind: Kind, alpha: Array, base: int) -> None:
        """Darken what the object keeps the light from: flattened on the ground, shifted on a table."""
        if kind.stance == AIR:
            return
        side, down, *_ = self.light
        if kind.stance == GROUND:
            shear, flat = -0.6 * side, 0.28
            # A point h above the base falls flat*h above it, sheared away from the light.
            matrix = np.array([[1, -shear, shear * base], [0, flat, (1 - flat) * base - 1]], dtype=np.float32)
        else:
            matrix = np.array([[1, 0, -6 * side], [0, 1, -5 * down]], dtype=np.float32)
        cast = cv2.GaussianBlur(cv2.warpAffine(alpha, matrix, self.shape[::-1]), (0, 0), 1.6)
        self.rgb = self.rgb * (1 - 0.5 * cast)[..., None]


def post_scene(rng: np.random.Generator) -> Scene:
    """A small picture with one to three objects, classes drawn by popularity."""
    popularity = np.arange(1, len(KINDS) + 1, dtype=np.float64) ** -_TAIL
    first = KINDS[rng.choice(len(KINDS), p=popularity / popularity.sum())]
    canvas = Canvas(rng, first, (int(rng.integers(72, 97)), int(rng.integers(72, 97))))
    number = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
    side = min(canvas.shape) / np.sqrt(number)
    canvas.place(first, rng.uniform(0.55, 0.95) * side * first.size)
    for kind in canvas.company(KINDS, number - 1, popularity):
        canvas.place(kind, rng.uniform(0.4, 0.75) * side * kind.size)
    if rng.random() < 0.2:
        canvas.occlude()
    return canvas.develop(soft=0.8, noisy=0.022)


def detection_scene(rng: np.random.Generator) -> Scene:
    """A picture with up to six labelled objects of several sizes, sometimes a crowd or something in front."""
    # The first class is uniform, so that every class has objects enough to be measured.
    first = DETECTED[int(rng.integers(len(DETECTED)))]
    canvas = Canvas(rng, first, _SIDES[int(rng.integers(len(_SIDES)))])
    if rng.random() < 0.06:
        canvas.place_crowd(first, float(rng.uniform(14, 20)), int(rng.integers(8, 15)))
    number = int(rng.choice([0, 1, 2, 3, 4], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    wanted = rng.permutation(np.array([first, *canvas.company(DETECTED, number)], dtype=object))
    spread = rng.uniform(0.75, 1.0)
    # Far to near: what stands lower in the picture is larger and hides what is behind it.
    for kind, depth in zip(wanted, np.sort(rng.uniform(0, 1, len(wanted))), strict=True):
        size = (26 + 64 * depth**1.3) * spread * kind.size * rng.uniform(0.85, 1.15)
        foot = canvas.horizon + 0.06 + (0.98 - canvas.horizon - 0.06) * (0.25 + 0.75 * depth)
        canvas.place(kind, size, float(foot))
    if rng.random() < 0.35:
        canvas.occlude()
    return canvas.develop(soft=0.65, noisy=0.02)


def _clutter(rng: np.random.Generator) -> Parts:
    """A stone, a crate or a ball: things in the world that no class names."""
    style, parts = rng.integers(3), Parts()
    tone = paint.colour(rng, saturation=(0.05, 0.6), value=(0.25, 0.75))
    second = paint.colour(rng, value=(0.4, 0.9))
    if style == 0:
        lumps = ellipse(0, 0, 1, 0.7)[::3]
        parts.shape(lumps * rng.uniform(0.8, 1.2, (len(lumps), 1)), Fill(tone, grain=0.35), 0.8, 1)
    elif style == 1:
        planks = paint.stripes(rng, 0.35, np.pi / 2, duty=0.12)
        parts.box(-1, -0.8, 1, 0.8, Fill(tone, paint.darker(tone, 0.5), planks, 0.2), 0.1, 0.04)
    else:
        parts.oval(0, 0, 1, 1, Fill(tone, second, paint.stripes(rng, 0.8, rng.uniform(0, 3)), 0.05, 0.3), 1)
    return parts
