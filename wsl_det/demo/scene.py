"""A picture put together: backdrop, objects from far to near with their shadows, things in front, camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from wsl_det.demo import paint
from wsl_det.demo.backdrops import SCENES, Backdrop
from wsl_det.demo.catalogue import AIR, FLAT, GROUND, Kind
from wsl_det.demo.paint import Fill, noise
from wsl_det.demo.shapes import Array, ellipse
from wsl_det.demo.sprite import Light, Parts, Pose, Sprite, render

Mask = npt.NDArray[np.bool_]

_LEAST_VISIBLE = 0.35  # an object of which less shows is not placed: nobody would label it
_TRIES = 12


@dataclass
class Placed:
    """An object in the picture: its class, its whole silhouette, and what of it shows, (H, W) bool."""

    kind: Kind
    silhouette: Mask
    visible: Mask


@dataclass(frozen=True)
class Crowd:
    """A group of one class too dense to label one by one, with the region it covers, (H, W) bool."""

    kind: Kind
    region: Mask


@dataclass(frozen=True)
class Scene:
    """A finished picture: ``image`` (H, W, 3) uint8 RGB, its labelled objects, its crowds."""

    image: npt.NDArray[np.uint8]
    objects: list[Placed]
    crowds: list[Crowd]


class Canvas:
    """A picture in the making; objects are put in from far to near."""

    def __init__(self, rng: np.random.Generator, backdrop: Backdrop) -> None:
        self.rng = rng
        self.rgb = backdrop.rgb
        self.horizon = backdrop.horizon
        self.objects: list[Placed] = []
        self.crowds: list[Crowd] = []
        side = rng.uniform(-0.6, 0.6)
        down = -rng.uniform(0.45, 0.75)
        towards = float(np.sqrt(max(1 - side**2 - down**2, 0.1)))
        self.light = Light((side, down, towards), float(rng.uniform(0.4, 0.6)))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def place(self, kind: Kind, size: float, foot: float | None = None) -> bool:
        """Put one object of ``size`` pixels where it hides no other too much; False when there is no room.

        ``foot`` is the row, as a share of the height, that it stands on.
        """
        sprite = render(kind.draw(self.rng), self._pose(kind, size), self.light, self.rng)
        for _ in range(_TRIES):
            left, top = self._corner(kind, sprite, foot)
            here = self._at(sprite, left, top)
            shape = _silhouette(here.alpha)
            if self._acceptable(shape, sprite):
                self._shadow(kind, here.alpha, top + sprite.alpha.shape[0])
                self._paste(here, shape)
                self.objects.append(Placed(kind, shape, shape.copy()))
                return True
        return False

    def place_crowd(self, kind: Kind, size: float, number: int) -> None:
        """Put a huddle of ``number`` small objects of one class behind everything that comes later."""
        height, width = self.shape
        # A sky or a reef has next to no ground: there the huddle stands in the picture all the same.
        low = min(max(self.horizon, 0.15), 0.6) if kind.stance == GROUND else 0.2
        x, y = self.rng.uniform(0.25, 0.75) * width, self.rng.uniform(low + 0.1, 0.7) * height
        region = np.zeros(self.shape, dtype=bool)
        for row in np.sort(self.rng.normal(y, 0.5 * size, number)):
            sprite = render(kind.draw(self.rng), self._pose(kind, size), self.light, self.rng)
            left = int(self.rng.normal(x, 1.4 * size) - sprite.alpha.shape[1] / 2)
            top = int(row - sprite.alpha.shape[0])
            here = self._at(sprite, left, top)
            shape = _silhouette(here.alpha)
            region |= shape
            self._paste(here, shape)
        if region.sum() > 40:
            self.crowds.append(Crowd(kind, region))

    def cover(self, parts: Parts, pose: Pose, left: int, top: int, blur: float) -> None:
        """Put something unlabelled in front: it hides what it covers, unless it would hide too much."""
        sprite = render(parts, pose, self.light, self.rng)
        if blur > 0:
            sprite = _defocused(sprite, blur)
        here = self._at(sprite, left, top)
        shape = here.alpha > 0.5
        if all(((o.visible & ~shape).sum() >= _LEAST_VISIBLE * o.silhouette.sum()) for o in self.objects):
            self._paste(here, shape)

    def _pose(self, kind: Kind, size: float) -> Pose:
        tilt = {GROUND: 0.1, AIR: 0.3, FLAT: np.pi}[kind.stance]
        angle, mirror = float(self.rng.uniform(-tilt, tilt)), bool(self.rng.random() < 0.5)
        return Pose(size, angle, mirror, float(self.rng.uniform(0.85, 1.1)))

    def _corner(self, kind: Kind, sprite: Sprite, foot: float | None) -> tuple[int, int]:
        """Where the sprite's upper left corner goes: at most about a fifth of it may leave the picture."""
        (height, width), (tall, wide) = self.shape, sprite.alpha.shape
        left = self.rng.uniform(-0.15 * wide, width - 0.85 * wide)
        if kind.stance != GROUND:
            limit = self.horizon * 1.1 if kind.stance == AIR and self.horizon > 0.3 else 1.0
            bottom = max(height * limit, tall) + 0.1 * tall
            return int(left), int(self.rng.uniform(-0.1 * tall, max(bottom - tall, 1)))
        if foot is None:
            foot = self.rng.uniform(min(self.horizon + 0.08, 0.9), 1.02)
        return int(left), int(foot * height - tall + self.rng.uniform(-2, 2))

    def _acceptable(self, shape: Mask, sprite: Sprite) -> bool:
        if shape.sum() < max(30, 0.75 * (sprite.alpha > 0.5).sum()):
            return False
        shares = [(o.visible & ~shape).sum() / o.silhouette.sum() for o in self.objects]
        # Nearly coincident objects are unlabelled noise, slight overlaps are the rule of the street.
        return all(s >= 0.75 or (s >= _LEAST_VISIBLE and self.rng.random() >= 0.6) for s in shares)

    def _at(self, sprite: Sprite, left: int, top: int) -> Sprite:
        """The sprite on a clear field of the picture's size, as much of it as lies inside."""
        field = Sprite(np.zeros_like(self.rgb), np.zeros(self.shape, dtype=np.float32))
        (height, width), (tall, wide) = self.shape, sprite.alpha.shape
        x0, y0 = min(max(left, 0), width), min(max(top, 0), height)
        x1, y1 = max(min(left + wide, width), x0), max(min(top + tall, height), y0)
        for whole, patch in ((field.rgb, sprite.rgb), (field.alpha, sprite.alpha)):
            whole[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
        return field

    def _paste(self, sprite: Sprite, shape: Mask) -> None:
        """Lay a sprite over the picture; its ``shape`` hides what is behind it."""
        self.rgb += (sprite.rgb - self.rgb) * sprite.alpha[..., None]
        for placed in self.objects:
            placed.visible &= ~shape
        for crowd in self.crowds:
            crowd.region[shape] = False

    def _shadow(self, kind: Kind, alpha: Array, base: int) -> None:
        """Darken what the object keeps the light from: flattened on the ground, shifted on a table."""
        if kind.stance == AIR:
            return
        side, down, _ = self.light.direction
        if kind.stance == GROUND:
            shear, flat = -0.6 * side, 0.28
            # A point h above the base falls flat*h above it, sheared away from the light.
            matrix = np.array([[1, -shear, shear * base], [0, flat, (1 - flat) * base - 1]], dtype=np.float32)
        else:
            matrix = np.array([[1, 0, -6 * side], [0, 1, -5 * down]], dtype=np.float32)
        cast = cv2.warpAffine(alpha, matrix, self.shape[::-1])
        cast = cv2.GaussianBlur(cast, (0, 0), 1.6)
        self.rgb *= (1 - 0.5 * cast)[..., None]


def start(rng: np.random.Generator, scene: str, height: int, width: int) -> Canvas:
    """An empty canvas in the named scene, with one or two things nobody labels, slightly out of focus."""
    backdrop = SCENES[scene](rng, height, width)
    soft = cv2.GaussianBlur(backdrop.rgb, (0, 0), float(rng.uniform(0.4, 1.4)))
    canvas = Canvas(rng, Backdrop(soft, backdrop.horizon))
    for _ in range(int(rng.integers(0, 3))):
        size = float(rng.uniform(0.08, 0.22)) * width
        left = int(rng.uniform(-0.1, 1) * width)
        top = int(rng.uniform(max(canvas.horizon, 0.1), 0.95) * height - size)
        canvas.cover(_clutter(rng), Pose(size, float(rng.uniform(-0.2, 0.2))), left, top, 0.6)
    return canvas


def occlude(canvas: Canvas) -> None:
    """Put a post, a branch or a bush between the objects and the camera."""
    rng, (height, width) = canvas.rng, canvas.shape
    style, parts = rng.integers(3), Parts()
    wood = Fill(paint.colour(rng, (0.05, 0.4), (0.1, 0.6), (0.15, 0.5)), grain=0.25)
    if style == 0:
        parts.box(-0.035, -1.0, 0.035, 1.0, wood, 0.9, 0.1)
        pose = Pose(1.3 * height, float(rng.uniform(-0.1, 0.1)))
        canvas.cover(parts, pose, int(rng.uniform(0.1, 0.85) * width), -8, 0.5)
        return
    leaf = Fill(paint.colour(rng, (0.15, 0.38), (0.3, 0.7), (0.2, 0.5)), grain=0.2)
    parts.limb([(-1, 0.1), (0, 0.0), (1, -0.15)], [0.03, 0.025, 0.01], wood)
    for x in np.linspace(-0.9, 0.95, 9):
        tip = rng.uniform(-0.32, 0.32)
        parts.shape([(x, 0), (x + 0.06, tip * 0.5), (x + 0.14, tip), (x - 0.02, tip * 0.6)], leaf, 0.3)
    turn = float(rng.uniform(-0.5, 0.5)) + (np.pi / 2 if style == 2 else 0)
    left, top = int(rng.uniform(-0.3, 0.7) * width), int(rng.uniform(0.0, 0.8) * height)
    canvas.cover(parts, Pose(float(rng.uniform(0.5, 0.9)) * width, turn), left, top, 1.0)


def develop(canvas: Canvas, soft: float, noisy: float) -> Scene:
    """Let the camera see it: uneven light, white balance, contrast, vignette, blur, sensor noise."""
    rng = canvas.rng
    height, width = canvas.shape
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = rng.uniform(-0.18, 0.18, 2)
    light = (1 + slope[0] * xs + slope[1] * ys) * (1 - rng.uniform(0, 0.14) * (xs**2 + ys**2))
    light = light * (1 + 0.08 * noise(rng, height, width, 0.6 * width, 1))
    balance = rng.uniform(0.93, 1.07, 3) * rng.uniform(0.9, 1.3)
    rgb = np.clip(canvas.rgb * light[..., None] * balance.astype(np.float32), 0, 1)
    rgb = rgb ** float(rng.uniform(0.85, 1.2))
    rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.25, soft)))
    sensor = rng.normal(0, 1, (height, width, 3)).astype(np.float32)
    rgb = rgb + sensor * (noisy * float(rng.uniform(0.3, 1.0)) * (0.5 + np.sqrt(rgb)))
    image = np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)
    return Scene(image, [o for o in canvas.objects if o.visible.any()], canvas.crowds)


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


def _silhouette(alpha: Array) -> Mask:
    """What a person would outline: the outer border filled, so a wheel is a disk."""
    inside = (alpha > 0.5).astype(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(inside, borders, -1, 1, thickness=cv2.FILLED)
    return inside.astype(bool)


def _defocused(sprite: Sprite, sigma: float) -> Sprite:
    alpha = cv2.GaussianBlur(sprite.alpha, (0, 0), sigma)
    weighted = cv2.GaussianBlur(sprite.rgb * sprite.alpha[..., None], (0, 0), sigma)
    return Sprite(weighted / np.maximum(alpha, 1e-3)[..., None], alpha)
