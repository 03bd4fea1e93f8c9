"""Which objects come together in a picture: a post shows one to three, a detection picture up to six."""

from __future__ import annotations

import numpy as np

from wsl_det.demo.backdrops import SCENES
from wsl_det.demo.catalogue import DETECTED, GROUND, KINDS, Kind
from wsl_det.demo.scene import Canvas, Scene, develop, occlude, start

_OUT_OF_PLACE = 0.1  # share of pictures in a scene where the class does not belong
_TAIL = 0.75  # exponent of the power law of popularity in posts
_SIDES = ((128, 160), (160, 128), (144, 144), (120, 160), (144, 160))  # height, width of detection pictures


def post_scene(rng: np.random.Generator) -> tuple[Scene, str]:
    """A small picture with one to three objects, classes drawn by popularity, and its scene's name."""
    popularity = np.arange(1, len(KINDS) + 1, dtype=np.float64) ** -_TAIL
    first = KINDS[rng.choice(len(KINDS), p=popularity / popularity.sum())]
    scene = _scene(rng, first)
    height, width = (int(v) for v in rng.integers(72, 97, 2))
    canvas = start(rng, scene, height, width)
    side = min(height, width)
    number = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
    _put(canvas, first, rng.uniform(0.55, 0.95) / np.sqrt(number) * side * first.size)
    for kind in _company(rng, scene, KINDS, number - 1, popularity):
        _put(canvas, kind, rng.uniform(0.4, 0.75) / np.sqrt(number) * side * kind.size)
    if rng.random() < 0.2:
        occlude(canvas)
    return develop(canvas, soft=0.8, noisy=0.022), scene


def detection_scene(rng: np.random.Generator) -> tuple[Scene, str]:
    """A picture with up to six labelled objects of several sizes, sometimes a crowd or something in front."""
    # The first class is uniform, so that every class has objects enough to be measured.
    first = DETECTED[int(rng.integers(len(DETECTED)))]
    scene = _scene(rng, first)
    height, width = _SIDES[int(rng.integers(len(_SIDES)))]
    canvas = start(rng, scene, height, width)
    if rng.random() < 0.06:
        canvas.place_crowd(first, float(rng.uniform(14, 20)), int(rng.integers(8, 15)))
    number = int(rng.choice([0, 1, 2, 3, 4], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    wanted = [first, *_company(rng, scene, DETECTED, number, np.ones(len(DETECTED)))]
    spread = rng.uniform(0.75, 1.0)
    # Far to near: what stands lower in the picture is larger and hides what is behind it.
    depths = np.sort(rng.uniform(0, 1, len(wanted)))
    for kind, depth in zip(rng.permutation(np.array(wanted, dtype=object)), depths, strict=True):
        size = (26 + 64 * depth**1.3) * spread * kind.size * rng.uniform(0.85, 1.15)
        foot = canvas.horizon + 0.06 + (0.98 - canvas.horizon - 0.06) * (0.25 + 0.75 * depth)
        canvas.place(kind, float(size), float(foot) if kind.stance == GROUND else None)
    if not canvas.objects:
        _put(canvas, first, 50.0 * first.size)
    if rng.random() < 0.35:
        occlude(canvas)
    return develop(canvas, soft=0.65, noisy=0.02), scene


def _scene(rng: np.random.Generator, kind: Kind) -> str:
    # A class in the wrong place now and then, so that the backdrop alone does not tell the class.
    return str(rng.choice(tuple(SCENES) if rng.random() < _OUT_OF_PLACE else kind.scenes))


def _company(
    rng: np.random.Generator, scene: str, kinds: tuple[Kind, ...], number: int, weight: np.ndarray
) -> list[Kind]:
    """``number`` classes, with repetition, mostly such as are found in the scene."""
    fitting = np.array([1.0 if scene in kind.scenes else 0.3 * _OUT_OF_PLACE for kind in kinds]) * weight
    return [kinds[k] for k in rng.choice(len(kinds), number, p=fitting / fitting.sum())]


def _put(canvas: Canvas, kind: Kind, size: float) -> None:
    for shrink in (1.0, 0.8, 0.6):
        if canvas.place(kind, float(size) * shrink):
            return
