"""Things people build: automobile, bus, bicycle, sailboat, airplane, lighthouse, umbrella."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Fill, Parts

_TYRE = Fill((0.09, 0.09, 0.1), grain=0.15)
_STEEL = Fill((0.62, 0.64, 0.67), gloss=0.4, grain=0.05)
_HUB = Fill((0.55, 0.56, 0.58), gloss=0.3)
_LAMP = Fill((1.0, 0.95, 0.7), gloss=0.6)
_DARK = Fill((0.13, 0.13, 0.15))


def automobile(rng: np.random.Generator, parts: Parts) -> None:
    """A car: body, cabin with windows, two wheels; sedan, hatchback or van by the cabin's corners."""
    body = Fill(paint.colour(rng, saturation=(0.1, 0.9)), gloss=0.35, grain=0.03)
    front, back = rng.uniform(-0.62, -0.42), rng.uniform(0.35, 0.85)
    roof, belt = rng.uniform(-0.58, -0.45), rng.uniform(-0.14, -0.06)
    lean = rng.uniform(0.15, 0.3)
    middle, top = (front + back) / 2 + rng.uniform(-0.05, 0.1), roof + 0.06
    glass = _glass(rng)
    cabin = [(front, belt), (front + lean, roof), (back - lean * 0.7, roof), (back, belt)]
    nose, rear = [(-1, 0.22), (-0.97, 0.0), (-0.6, belt)], [(0.93, belt + 0.02), (1, 0.08), (0.98, 0.26)]
    left, right = middle - 0.03, middle + 0.03
    parts.shape([*nose, *cabin, *rear, (-0.98, 0.3)], body)
    parts.shape([(front + 0.09, belt), (front + lean, top), (left, top), (left, belt)], glass, 0.2, 1)
    parts.shape([(right, belt), (right, top), (back - lean * 0.75, top), (back - 0.07, belt)], glass, 0.2, 1)
    parts.limb([(middle, belt), (middle + 0.02, 0.2)], 0.008, Fill(paint.darker(body.base, 0.5)), 0)
    parts.box(-0.99, 0.02, -0.9, 0.12, _LAMP, 0.8)
    parts.box(0.91, 0.0, 0.99, 0.1, Fill((0.75, 0.08, 0.06), gloss=0.4), 0.8)
    parts.box(-0.99, 0.22, 0.99, 0.3, _DARK, 0.3)
    _wheels(parts, (rng.uniform(-0.66, -0.58), rng.uniform(0.55, 0.64)), 0.28, rng.uniform(0.19, 0.24))


def bus(rng: np.random.Generator, parts: Parts) -> None:
    """A bus: a long box with a row of windows, a band along the side, a door and two or three wheels."""
    height = rng.uniform(0.62, 0.85)
    top, bottom = -height / 2, height / 2
    band = paint.colour(rng, value=(0.6, 0.95))
    side = Fill(paint.colour(rng, saturation=(0.0, 0.85), value=(0.6, 0.95)), gloss=0.25, grain=0.03)
    stripe, glass = rng.uniform(0.05, 0.15) * height, _glass(rng)
    parts.box(-1, top, 1, bottom, side, 0.25, 0.16)
    parts.box(-0.985, stripe, 0.985, stripe + rng.uniform(0.08, 0.2), Fill(band, gloss=0.2), 0)
    edges = np.linspace(-0.93, 0.72, int(rng.integers(5, 9)))
    for left, right in pairwise(edges):
        parts.box(left, top + 0.1, right - 0.045, -0.02, glass, 0.15, 0.15)
    parts.box(0.74, top + 0.1, 0.97, 0.06, glass, 0.15, 0.2)
    door = float(edges[-2]) - 0.02
    parts.box(door, top + 0.12, door + 0.2, bottom - 0.06, Fill((0.16, 0.17, 0.2)), 0.1, 0.1)
    parts.box(-0.99, bottom - 0.07, 0.99, bottom, _DARK, 0.2, 0.3)
    parts.box(0.93, bottom - 0.18, 1.0, bottom - 0.1, _LAMP, 0.8)
    _wheels(parts, (-0.62, 0.55) if rng.random() < 0.7 else (-0.68, -0.4, 0.55), bottom, 0.15)


def bicycle(rng: np.random.Generator, parts: Parts) -> None:
    """A bicycle: two spoked wheels, a diamond frame, saddle and handlebar."""
    radius = rng.uniform(0.42, 0.48)
    rear, front, crank, head = np.array([(-0.55, 0.2), (0.55, 0.2), (-0.1, 0.22), (0.37, -0.36)])
    seat = np.array([-0.24, -0.38 + rng.uniform(-0.06, 0.06)])
    frame = Fill(paint.colour(rng, value=(0.4, 0.95)), gloss=0.4, grain=0.03)
    for hub in (rear, front):
        for turn in rng.uniform(0, np.pi) + np.arange(5) * np.pi / 5:
            arm = radius * np.array([np.cos(turn), np.sin(turn)])
            parts.limb([hub - arm, hub, hub + arm], 0.008, Fill((0.6, 0.6, 0.62), grain=0.02), 0)
        parts.ring(hub[0], hub[1], radius, 0.075, _TYRE)
    for a, b in [(rear, crank), (rear, seat), (seat, crank), (crank, head), (seat, head), (head, front)]:
        parts.limb([a, (a + b) / 2, b], 0.036, frame)
    bar = rng.choice([-0.14, 0.16])
    parts.limb(np.add(head, [(0, 0), (-0.02, -0.16), (bar, -0.2)]), 0.03, _TYRE)
    parts.limb(np.add(seat, [(0, 0), (-0.02, -0.1)]), 0.025, _STEEL)
    parts.oval(seat[0] - 0.03, seat[1] - 0.12, 0.17, 0.055, _TYRE)
    parts.ring(crank[0], crank[1], 0.1, 0.04, _STEEL)


def sailboat(rng: np.random.Generator, parts: Parts) -> None:
    """A sailing boat: hull, mast, main sail and jib, plain or striped."""
    mast = rng.uniform(-0.1, 0.1)
    cloth = paint.colour(rng, saturation=(0.0, 0.6), value=(0.75, 0.98))
    second = paint.colour(rng, value=(0.4, 0.9))
    pattern = paint.stripes(rng, rng.uniform(0.25, 0.5), np.pi / 2, duty=0.4) if rng.random() < 0.5 else None
    sail = Fill(cloth, second, pattern, grain=0.05)
    jib = Fill(paint.darker(cloth, 0.96), grain=0.05) if rng.random() < 0.6 else sail
    hull = Fill(paint.colour(rng, saturation=(0.1, 0.9), value=(0.25, 0.95)), gloss=0.3)
    deck = Fill(paint.colour(rng, (0.07, 0.1), (0.4, 0.6), (0.4, 0.7)))
    belly, boom = -rng.uniform(0.37, 0.45), rng.uniform(-0.75, -0.55)
    parts.limb([(mast, 0.6), (mast, -1.0)], [0.022, 0.014], Fill((0.45, 0.36, 0.28)))
    parts.shape([(mast - 0.03, -0.96), (mast - 0.04, 0.48), (boom, 0.48), (belly, -0.1)], sail, 0.12)
    parts.shape([(mast + 0.03, -0.85), (0.72, 0.5), (0.4, 0.47), (mast + 0.04, 0.46)], jib, 0.12, 1)
    parts.shape([(-0.85, 0.6), (0.95, 0.56), (0.6, 0.88), (-0.68, 0.9)], hull)
    parts.limb([(-0.76, 0.61), (0.1, 0.6), (0.84, 0.585)], 0.028, deck, 0.2)


def airplane(rng: np.random.Generator, parts: Parts) -> None:
    """An airliner seen from the side and a little below: fuselage, both wings, tail, engine, window row."""
    body = Fill(paint.grey(rng, (0.75, 0.97)), gloss=0.3, grain=0.03)
    livery = Fill(paint.colour(rng, value=(0.45, 0.9)), gloss=0.2)
    metal = Fill(paint.grey(rng, (0.5, 0.75)), gloss=0.3)
    sweep, drop = rng.uniform(-0.6, -0.35), rng.uniform(0.35, 0.55)
    tip, high = sweep * 0.55, -drop * 0.85
    above = [(-0.98, -0.04), (-0.8, -0.1), (0.6, -0.13), (0.88, -0.08), (1.0, 0.02)]
    parts.shape([(0.2, -0.08), (tip, high), (tip - 0.12, high), (-0.12, -0.06)], metal, 0.3, 1)
    parts.shape([(-0.62, -0.09), (-0.88, -0.5), (-1.02, -0.5), (-0.95, -0.06)], livery, 0.3, 1)
    parts.shape([*above, (0.9, 0.1), (0.5, 0.14), (-0.5, 0.12)], body)
    parts.shape([(-0.9, -0.02), (0.9, 0.03), (0.82, 0.09), (-0.6, 0.07)], livery, 0.1, 1)
    parts.box(0.83, -0.065, 0.93, -0.01, _DARK, 0.2)
    parts.oval(sweep * 0.3 + 0.08, drop * 0.55, 0.14, 0.07, livery)
    parts.shape([(0.25, 0.05), (sweep, drop), (sweep - 0.14, drop), (-0.18, 0.07)], metal, 0.4, 1)
    parts.shape([(-0.72, 0.0), (-1.0, 0.2), (-1.08, 0.2), (-0.92, -0.01)], metal, 0.3, 1)
    for x in np.arange(-0.6, 0.75, 0.09):
        parts.oval(x, -0.055, 0.018, 0.022, Fill((0.15, 0.18, 0.25), grain=0), 0)


def lighthouse(rng: np.random.Generator, parts: Parts) -> None:
    """A lighthouse: a banded tower that narrows upwards, gallery, lantern and dome, on a rock."""
    base, top = rng.uniform(0.26, 0.34), rng.uniform(0.15, 0.2)
    pattern = paint.stripes(rng, rng.uniform(0.35, 0.6), np.pi / 2) if rng.random() < 0.8 else None
    white, bands = paint.grey(rng, (0.85, 0.98)), paint.colour(rng, (0.95, 1.65), value=(0.3, 0.8))
    roof = Fill(paint.colour(rng, (0.95, 1.1), value=(0.3, 0.7)), gloss=0.2)
    lantern = Fill((1.0, 0.9, 0.55), (0.25, 0.25, 0.3), paint.stripes(rng, 0.11, 0.0, duty=0.3), gloss=0.5)
    rock = [(-0.6, 0.98), (-0.5, 0.84), (-0.2, 0.74), (0.25, 0.76), (0.5, 0.86), (0.62, 0.98)]
    parts.shape(np.array(rock) + rng.normal(0, 0.03, (6, 2)), Fill((0.4, 0.4, 0.39), grain=0.4), rounds=1)
    tower = Fill(white, bands, pattern, 0.1)
    parts.shape([(-base, 0.85), (-top, -0.5), (top, -0.5), (base, 0.85)], tower, 0.9, 0)
    parts.box(-0.06, 0.62, 0.08, 0.84, Fill((0.2, 0.13, 0.1)), 0.2, 0.3)
    for y in (-0.2, 0.2):
        parts.box(-0.03, y, 0.04, y + 0.11, _DARK, 0, 0.4)
    parts.box(-top * 0.75, -0.78, top * 0.75, -0.52, lantern, corner=0.05)
    parts.box(-top * 1.35, -0.56, top * 1.35, -0.48, Fill((0.18, 0.18, 0.2)), corner=0.2)
    parts.shape(
        [(-top, -0.77), (-0.6 * top, -0.92), (0, -1), (0.6 * top, -0.92), (top, -0.77)], roof, rounds=1
    )


def umbrella(rng: np.random.Generator, parts: Parts) -> None:
    """An open umbrella: a scalloped dome in panels, ribs, shaft and crook."""
    number, depth = int(rng.integers(4, 8)), rng.uniform(0.55, 0.75)
    turn = np.linspace(np.pi, 2 * np.pi, 15)
    hem = np.linspace(1, -1, 6 * number + 1)[1:-1]
    scallops = np.stack([hem, 0.02 - 0.09 * np.abs(np.sin(np.pi * number * (hem + 1) / 2))], axis=1)
    dome = np.concatenate([np.stack([np.cos(turn), depth * np.sin(turn)], axis=1), scallops])
    pattern = paint.panels(rng, number * 2, 0.0, -0.2) if rng.random() < 0.6 else None
    first, second = paint.colour(rng), paint.colour(rng, saturation=(0.0, 0.9), value=(0.6, 0.98))
    handle = Fill(paint.colour(rng, (0.04, 0.1), (0.3, 0.7), (0.2, 0.6)), gloss=0.3)
    parts.limb([(0, -depth), (0, -depth - 0.14)], [0.025, 0.015], handle)
    parts.limb([(0, -0.1), (0, 0.82), (0.06, 0.95), (0.18, 0.95), (0.22, 0.84)], 0.032, handle)
    parts.shape(dome, Fill(first, second, pattern, grain=0.05, gloss=0.15), 0.55, 0)
    for x in np.linspace(-1, 1, number + 1)[1:-1]:
        rib = [(0.0, -depth + 0.01), (0.75 * x, -0.62 * depth), (x, 0.0)]
        parts.limb(rib, 0.009, Fill(paint.darker(first, 0.55), grain=0), 0)


def _wheels(parts: Parts, places: tuple[float, ...], y: float, radius: float) -> None:
    for x in places:
        parts.oval(x, y, radius, radius, _TYRE)
        parts.oval(x, y, radius * 0.5, radius * 0.5, _HUB)


def _glass(rng: np.random.Generator) -> Fill:
    dark = paint.colour(rng, (0.55, 0.65), (0.1, 0.4), (0.12, 0.3))
    return Fill(dark, (0.6, 0.72, 0.8), paint.fade(-np.pi / 3, 0.35, 0.9), 0, 0.3)
