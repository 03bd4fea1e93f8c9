"""Things people build: automobile, bus, bicycle, sailboat, airplane, lighthouse, umbrella."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Colour, Fill
from wsl_det.demo.shapes import Array, box, ellipse, limb, off, ring, smooth
from wsl_det.demo.sprite import Part, part

_TYRE = Fill((0.09, 0.09, 0.1), grain=0.15)
_STEEL = Fill((0.62, 0.64, 0.67), gloss=0.4, grain=0.05)


def automobile(rng: np.random.Generator) -> list[Part]:
    """A car: body, cabin with windows, two wheels; sedan, hatchback or van by the cabin's corners."""
    body = Fill(paint.colour(rng, saturation=(0.1, 0.9)), gloss=0.35, grain=0.03)
    front, back = rng.uniform(-0.62, -0.42), rng.uniform(0.35, 0.85)
    roof, belt = rng.uniform(-0.58, -0.45), rng.uniform(-0.14, -0.06)
    lean = rng.uniform(0.15, 0.3)
    cabin = [(front, belt), (front + lean, roof), (back - lean * 0.7, roof), (back, belt)]
    shell = [(-1, 0.22), (-0.97, 0.0), (-0.6, belt), *cabin, (0.93, belt + 0.02), (1, 0.08), (0.98, 0.26)]
    middle = (front + back) / 2 + rng.uniform(-0.05, 0.1)
    glass = _glass(rng)
    parts = [
        part(smooth([*shell, (-0.98, 0.3)]), body),
        part(
            _pane((front + 0.09, middle - 0.03), (front + lean, middle - 0.03), roof + 0.06, belt), glass, 0.2
        ),
        part(
            _pane((middle + 0.03, back - 0.07), (middle + 0.03, back - lean * 0.75), roof + 0.06, belt),
            glass,
            0.2,
        ),
        part(
            limb([(middle, belt), (middle + 0.02, 0.2)], [0.008, 0.008]),
            Fill(paint.darker(body.base, 0.5)),
            0,
        ),
        part(box(-0.99, 0.02, -0.9, 0.12), Fill((1.0, 0.95, 0.7), gloss=0.6), 0.8),
        part(box(0.91, 0.0, 0.99, 0.1), Fill((0.75, 0.08, 0.06), gloss=0.4), 0.8),
        part(box(-0.99, 0.22, 0.99, 0.3), Fill((0.13, 0.13, 0.14)), 0.3),
    ]
    radius = rng.uniform(0.19, 0.24)
    for x in (rng.uniform(-0.66, -0.58), rng.uniform(0.55, 0.64)):
        parts += _wheel(x, 0.28, radius)
    return parts


def bus(rng: np.random.Generator) -> list[Part]:
    """A bus: a long box with a row of windows, a band along the side, a door and two or three wheels."""
    height = rng.uniform(0.62, 0.85)
    top, bottom = -height / 2, height / 2
    band = paint.colour(rng, value=(0.6, 0.95))
    side = Fill(paint.colour(rng, saturation=(0.0, 0.85), value=(0.6, 0.95)), gloss=0.25, grain=0.03)
    stripe_top = rng.uniform(0.05, 0.15) * height
    parts = [
        part(box(-1, top, 1, bottom, 0.16), side, 0.25),
        part(box(-0.985, stripe_top, 0.985, stripe_top + rng.uniform(0.08, 0.2)), Fill(band, gloss=0.2), 0),
    ]
    number = int(rng.integers(4, 8))
    edges = np.linspace(-0.93, 0.72, number + 1)
    glass = _glass(rng)
    for left, right in pairwise(edges):
        parts.append(part(box(left, top + 0.1, right - 0.045, -0.02, 0.15), glass, 0.15))
    parts.append(part(box(0.74, top + 0.1, 0.97, 0.06, 0.2), glass, 0.15))
    door = float(edges[-2]) - 0.02
    parts.append(part(box(door, top + 0.12, door + 0.2, bottom - 0.06, 0.1), Fill((0.16, 0.17, 0.2)), 0.1))
    parts.append(part(box(-0.99, bottom - 0.07, 0.99, bottom, 0.3), Fill((0.15, 0.15, 0.16)), 0.2))
    parts.append(part(box(0.93, bottom - 0.18, 1.0, bottom - 0.1), Fill((1.0, 0.95, 0.75), gloss=0.6), 0.8))
    for x in [-0.62, 0.55] if rng.random() < 0.7 else [-0.68, -0.4, 0.55]:
        parts += _wheel(x, bottom, 0.15)
    return parts


def bicycle(rng: np.random.Generator) -> list[Part]:
    """A bicycle: two spoked wheels, a diamond frame, saddle and handlebar."""
    radius = rng.uniform(0.42, 0.48)
    rear, front = np.array([-0.55, 0.2]), np.array([0.55, 0.2])
    crank, seat = np.array([-0.1, 0.22]), np.array([-0.24, -0.38 + rng.uniform(-0.06, 0.06)])
    head = np.array([0.37, -0.36])
    frame = Fill(paint.colour(rng, value=(0.4, 0.95)), gloss=0.4, grain=0.03)
    spokes = Fill((0.6, 0.6, 0.62), grain=0.02)
    parts = []
    for hub in (rear, front):
        turn = rng.uniform(0, np.pi)
        for k in range(5):
            arm = radius * np.array([np.cos(turn + k * np.pi / 5), np.sin(turn + k * np.pi / 5)])
            parts.append(part(limb([hub - arm, hub, hub + arm], [0.008] * 3), spokes, 0))
        parts.append(part(ring(hub[0], hub[1], radius, 0.075), _TYRE))
    for a, b in [(rear, crank), (rear, seat), (seat, crank), (crank, head), (seat, head), (head, front)]:
        parts.append(part(limb([a, (a + b) / 2, b], [0.036] * 3), frame))
    bar = [head, off(head, -0.02, -0.16), off(head, rng.choice([-0.14, 0.16]), -0.2)]
    parts.append(part(limb(bar, [0.03] * 3), _TYRE))
    parts.append(part(limb([seat, off(seat, -0.02, -0.1)], [0.025] * 2), _STEEL))
    parts.append(part(ellipse(seat[0] - 0.03, seat[1] - 0.12, 0.17, 0.055), _TYRE))
    parts.append(part(ring(crank[0], crank[1], 0.1, 0.04), _STEEL))
    return parts


def sailboat(rng: np.random.Generator) -> list[Part]:
    """A sailing boat: hull, mast, main sail and jib, plain or striped."""
    mast = rng.uniform(-0.1, 0.1)
    cloth = paint.colour(rng, saturation=(0.0, 0.6), value=(0.75, 0.98))
    second = paint.colour(rng, value=(0.4, 0.9))
    pattern = paint.stripes(rng, rng.uniform(0.25, 0.5), np.pi / 2, duty=0.4) if rng.random() < 0.5 else None
    sail = Fill(cloth, second, pattern, grain=0.05)
    hull = Fill(paint.colour(rng, saturation=(0.1, 0.9), value=(0.25, 0.95)), gloss=0.3)
    belly = rng.uniform(0.02, 0.1)
    boom = rng.uniform(-0.75, -0.55)
    deck = Fill(paint.colour(rng, (0.07, 0.1), (0.4, 0.6), (0.4, 0.7)))
    return [
        part(limb([(mast, 0.6), (mast, -1.0)], [0.022, 0.014]), Fill((0.45, 0.36, 0.28))),
        part(
            smooth([(mast - 0.03, -0.96), (mast - 0.04, 0.48), (boom, 0.48), (-0.35 - belly, -0.1)], 2),
            sail,
            0.12,
        ),
        part(
            smooth([(mast + 0.03, -0.85), (0.72, 0.5), (0.4, 0.47), (mast + 0.04, 0.46)], 1),
            Fill(paint.darker(cloth, 0.96), grain=0.05) if rng.random() < 0.6 else sail,
            0.12,
        ),
        part(smooth([(-0.85, 0.6), (0.95, 0.56), (0.6, 0.88), (-0.68, 0.9)], 2), hull),
        part(limb([(-0.76, 0.61), (0.1, 0.6), (0.84, 0.585)], [0.028] * 3), deck, 0.2),
    ]


def airplane(rng: np.random.Generator) -> list[Part]:
    """An airliner seen from the side and a little below: fuselage, both wings, tail, engine, window row."""
    body = Fill(paint.grey(rng, (0.75, 0.97)), gloss=0.3, grain=0.03)
    livery = Fill(paint.colour(rng, value=(0.45, 0.9)), gloss=0.2)
    metal = Fill(paint.grey(rng, (0.5, 0.75)), gloss=0.3)
    sweep, drop = rng.uniform(-0.6, -0.35), rng.uniform(0.35, 0.55)
    hull = [
        (-0.98, -0.04),
        (-0.8, -0.1),
        (0.6, -0.13),
        (0.88, -0.08),
        (1.0, 0.02),
        (0.9, 0.1),
        (0.5, 0.14),
        (-0.5, 0.12),
    ]
    parts = [
        part(
            smooth(
                [
                    (0.2, -0.08),
                    (sweep * 0.55, -drop * 0.85),
                    (sweep * 0.55 - 0.12, -drop * 0.85),
                    (-0.12, -0.06),
                ],
                1,
            ),
            metal,
            0.3,
        ),
        part(smooth([(-0.62, -0.09), (-0.88, -0.5), (-1.02, -0.5), (-0.95, -0.06)], 1), livery, 0.3),
        part(smooth(hull), body),
        part(smooth([(-0.9, -0.02), (0.9, 0.03), (0.82, 0.09), (-0.6, 0.07)], 1), livery, 0.1),
        part(box(0.83, -0.065, 0.93, -0.01), Fill((0.12, 0.14, 0.2)), 0.2),
        part(ellipse(sweep * 0.3 + 0.08, drop * 0.55, 0.14, 0.07), livery),
        part(smooth([(0.25, 0.05), (sweep, drop), (sweep - 0.14, drop), (-0.18, 0.07)], 1), metal, 0.4),
        part(smooth([(-0.72, 0.0), (-1.0, 0.2), (-1.08, 0.2), (-0.92, -0.01)], 1), metal, 0.3),
    ]
    panes = Fill((0.15, 0.18, 0.25), grain=0)
    return parts + [part(ellipse(x, -0.055, 0.018, 0.022), panes, 0) for x in np.arange(-0.6, 0.75, 0.09)]


def lighthouse(rng: np.random.Generator) -> list[Part]:
    """A lighthouse: a banded tower that narrows upwards, gallery, lantern and dome, on a rock."""
    base, top = rng.uniform(0.26, 0.34), rng.uniform(0.15, 0.2)
    pattern = paint.stripes(rng, rng.uniform(0.35, 0.6), np.pi / 2) if rng.random() < 0.8 else None
    tower = Fill(
        paint.grey(rng, (0.85, 0.98)), paint.colour(rng, (0.95, 1.65), value=(0.3, 0.8)), pattern, 0.1
    )
    roof = Fill(paint.colour(rng, (0.95, 1.1), value=(0.3, 0.7)), gloss=0.2)
    rock = [(-0.6, 0.98), (-0.5, 0.84), (-0.2, 0.74), (0.25, 0.76), (0.5, 0.86), (0.62, 0.98)]
    parts = [
        part(
            smooth(np.array(rock) + rng.normal(0, 0.03, (6, 2)), 1),
            Fill(paint.grey(rng, (0.3, 0.5)), grain=0.4),
        ),
        part([np.array([(-base, 0.85), (-top, -0.5), (top, -0.5), (base, 0.85)], np.float32)], tower, 0.9),
        part(box(-0.06, 0.62, 0.08, 0.84, 0.3), Fill((0.2, 0.13, 0.1)), 0.2),
    ]
    for y in (-0.2, 0.2):
        parts.append(part(box(-0.03, y, 0.04, y + 0.11, 0.4), Fill((0.12, 0.12, 0.16)), 0))
    lantern = Fill((1.0, 0.9, 0.55), (0.25, 0.25, 0.3), paint.stripes(rng, 0.11, 0.0, duty=0.3), gloss=0.5)
    parts.append(part(box(-top * 0.75, -0.78, top * 0.75, -0.52, 0.05), lantern))
    parts.append(part(box(-top * 1.35, -0.56, top * 1.35, -0.48, 0.2), Fill((0.18, 0.18, 0.2))))
    parts.append(
        part(
            smooth([(-top, -0.77), (-top * 0.6, -0.92), (0, -1.0), (top * 0.6, -0.92), (top, -0.77)], 1), roof
        )
    )
    return parts


def umbrella(rng: np.random.Generator) -> list[Part]:
    """An open umbrella: a scalloped dome in panels, ribs, shaft and crook."""
    number = int(rng.integers(4, 8))
    depth = rng.uniform(0.55, 0.75)
    turn = np.linspace(np.pi, 2 * np.pi, 15)
    dome = np.stack([np.cos(turn), 0.0 + depth * np.sin(turn)], axis=1)
    hem = np.linspace(1, -1, 6 * number + 1)[1:-1]
    scallops = np.stack([hem, -0.09 * np.abs(np.sin(np.pi * number * (hem + 1) / 2)) + 0.02], axis=1)
    pattern = paint.panels(rng, number * 2, 0.0, -0.2) if rng.random() < 0.6 else None
    first, second = paint.colour(rng), paint.colour(rng, saturation=(0.0, 0.9), value=(0.6, 0.98))
    cloth = Fill(first, second, pattern, grain=0.05, gloss=0.15)
    handle = Fill(paint.colour(rng, (0.04, 0.1), (0.3, 0.7), (0.2, 0.6)), gloss=0.3)
    crook = [(0.0, -0.1), (0.0, 0.82), (0.06, 0.95), (0.18, 0.95), (0.22, 0.84)]
    ribs = Fill(paint.darker(first, 0.55), grain=0)
    parts = [
        part(limb([(0, -depth), (0, -depth - 0.14)], [0.025, 0.015]), handle),
        part(limb(crook, [0.028, 0.03, 0.035, 0.035, 0.03]), handle),
        part(np.concatenate([dome, scallops]).astype(np.float32), cloth, 0.55),
    ]
    for x in np.linspace(-1, 1, number + 1)[1:-1]:
        bend = [(0.0, -depth + 0.01), (0.75 * x, -0.62 * depth), (x, 0.0)]
        parts.append(part(limb(bend, [0.008, 0.01, 0.01]), ribs, 0))
    return parts


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    hub = Fill((0.55, 0.56, 0.58), gloss=0.3)
    return [part(ellipse(x, y, radius, radius), _TYRE), part(ellipse(x, y, radius * 0.5, radius * 0.5), hub)]


def _glass(rng: np.random.Generator) -> Fill:
    sky: Colour = (0.6, 0.72, 0.8)
    return Fill(
        paint.colour(rng, (0.55, 0.65), (0.1, 0.4), (0.12, 0.3)),
        sky,
        paint.fade(-np.pi / 3, 0.35, 0.9),
        0,
        0.3,
    )


def _pane(foot: tuple[float, float], head: tuple[float, float], top: float, bottom: float) -> Array:
    """A window between two rows; ``foot`` and ``head`` are its left and right ends there."""
    return smooth([(foot[0], bottom), (head[0], top), (head[1], top), (foot[1], bottom)], 1)
