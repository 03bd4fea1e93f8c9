"""What grows: giraffe, zebra and brown bear on one skeleton; small animals; sunflower and mushroom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Array, Fill, Parts, rotate, smooth

_BLACK = Fill((0.07, 0.06, 0.06), gloss=0.3)


@dataclass(frozen=True)
class _Build:
    """Proportions of a four-legged animal that looks to the right; lengths in object coordinates."""

    chest: float  # half height of the body at the shoulder
    rump: float
    back: float  # y of the spine
    leg: float  # length
    leg_width: float
    neck: tuple[float, float]  # where the head is, seen from the shoulder
    neck_width: float
    head: tuple[float, float]  # half length, half height
    tail: float


def giraffe(rng: np.random.Generator, parts: Parts) -> None:
    """A giraffe: brown patches on cream, a neck as long as the legs, two ossicones."""
    cream = paint.colour(rng, (0.1, 0.14), (0.25, 0.45), (0.8, 0.95))
    brown = paint.colour(rng, (0.05, 0.09), (0.55, 0.8), (0.4, 0.65))
    coat = Fill(cream, brown, paint.cells(rng, 70, 0.035, (0.75, 1.0)))
    neck = (rng.uniform(0.3, 0.48), rng.uniform(-0.85, -0.7))
    build = _Build(0.24, 0.2, 0.0, 0.72, 0.052, neck, 0.09, (0.16, 0.075), 0.4)
    head = _quadruped(rng, parts, build, coat, Fill(paint.darker(cream, 0.8)))
    for dx in (-0.06, -0.01):
        parts.limb(np.add(head, [(dx, -0.05), (dx - 0.015, -0.17)]), [0.014, 0.022], Fill((0.3, 0.2, 0.13)))


def zebra(rng: np.random.Generator, parts: Parts) -> None:
    """A zebra: black and white bands, a short upright mane."""
    light, dark = paint.grey(rng, (0.85, 0.97)), paint.grey(rng, (0.06, 0.18))
    stripes = paint.stripes(rng, rng.uniform(0.11, 0.17), rng.uniform(-0.3, 0.3), 1.3)
    build = _Build(0.26, 0.27, -0.12, 0.55, 0.06, (rng.uniform(0.22, 0.36), -0.42), 0.15, (0.2, 0.1), 0.4)
    head = _quadruped(rng, parts, build, Fill(light, dark, stripes, 0.05), Fill(dark))
    mane = np.add(head, [(-0.06, -0.12), (-0.16, 0.05), (-0.32, 0.3)])
    parts.limb(mane, [0.03, 0.045, 0.03], Fill(dark, grain=0.4))


def brown_bear(rng: np.random.Generator, parts: Parts) -> None:
    """A brown bear: heavy, humped, rough fur, round ears, a pale muzzle."""
    fur = paint.colour(rng, (0.05, 0.09), (0.45, 0.7), (0.25, 0.55))
    coat = Fill(fur, paint.darker(fur, 0.6), paint.fade(np.pi / 2, 0.35, 0.7), grain=0.35)
    neck = (rng.uniform(0.3, 0.4), rng.uniform(-0.12, 0.12))
    build = _Build(0.4, 0.36, -0.1, 0.34, 0.13, neck, 0.28, (0.24, 0.19), 0.08)
    parts.oval(0.28, -0.36, 0.3, 0.18, coat, 0.4)
    x, y = _quadruped(rng, parts, build, coat, coat)
    for dx in (-0.13, 0.04):
        parts.oval(x + dx, y - 0.19, 0.075, 0.075, coat)
    parts.oval(x + 0.2, y + 0.06, 0.11, 0.085, Fill(paint.darker((0.8, 0.68, 0.5), rng.uniform(0.7, 1.0))))
    parts.oval(x + 0.29, y + 0.04, 0.04, 0.035, _BLACK)
    parts.oval(x + 0.08, y - 0.04, 0.03, 0.03, _BLACK)


def goldfish(rng: np.random.Generator, parts: Parts) -> None:
    """A goldfish: a deep oval body with scales, a flowing forked tail, fins and a round eye."""
    skin = paint.colour(rng, (0.02, 0.11), (0.75, 0.98), (0.8, 1.0))
    pale = paint.colour(rng, (0.08, 0.13), (0.05, 0.4), (0.9, 1.0))
    spotted = rng.random() < 0.5
    piebald = paint.spots(rng, 5, 0.25, (0.5, 0.4)) if spotted else paint.fade(np.pi / 2, 0.25, 0.5)
    fin = Fill(skin, pale, paint.stripes(rng, 0.1, np.pi / 2, 0.6, 0.35), grain=0.05)
    scales = Fill(paint.darker(skin, 0.8), grain=0)
    deep, wave = rng.uniform(0.3, 0.42), rng.uniform(-0.12, 0.12)
    side = [(0.85, 0.0), (0.6, deep * 0.75), (0.05, deep), (-0.5, 0.12)]
    tail = [(-0.4, 0), (-0.75, wave - 0.42), (-1, wave - 0.5), (-0.82, wave), (-1, wave + 0.48)]
    parts.shape([*tail, (-0.72, wave + 0.4)], fin, 0.2)
    parts.shape([(0.25, -deep * 0.8), (-0.05, -deep - 0.22), (-0.4, -deep - 0.1), (-0.35, -0.15)], fin, 0.2)
    parts.shape([(-0.1, deep * 0.7), (-0.3, deep + 0.2), (-0.4, deep * 0.5)], fin, 0.2)
    parts.shape([*side, *((x, -y) for x, y in side[:0:-1])], Fill(skin, pale, piebald, 0.05, 0.35))
    for x in np.arange(-0.2, 0.36, 0.14):
        for y in np.arange(-0.18, 0.2, 0.12):
            parts.limb([(x, y - 0.05), (x - 0.05, y), (x, y + 0.05)], 0.01, scales, 0)
    parts.limb([(0.47, -0.2), (0.4, 0.0), (0.46, 0.2)], 0.014, scales, 0)
    parts.shape([(0.3, 0.1), (0.05, 0.38), (0.02, 0.16)], fin, 0.3)
    parts.oval(0.62, -0.08, 0.085, 0.085, Fill((0.97, 0.95, 0.85)))
    parts.oval(0.63, -0.08, 0.05, 0.05, _BLACK)


def ladybug(rng: np.random.Generator, parts: Parts) -> None:
    """A ladybird beetle from above: spotted wing cases, black head with pale cheeks, six legs."""
    red = paint.colour(rng, (0.97, 1.12), (0.8, 0.97), (0.65, 0.95))
    spots = paint.spots(rng, int(rng.integers(7, 14)), rng.uniform(0.11, 0.16), (0.6, 0.55))
    for side in (-1, 1):
        for x in (-0.35, 0.05, 0.42):
            kick = x + rng.uniform(-0.18, 0.18)
            bend = [(x, 0.4 * side), (kick, 0.78 * side), (kick + 0.1, 0.92 * side)]
            parts.limb(bend, [0.05, 0.035, 0.025], _BLACK)
        parts.limb([(0.8, 0.1 * side), (1.02, 0.25 * side), (1.1, 0.2 * side)], 0.02, _BLACK)
    parts.oval(0.76, 0.0, 0.2, 0.26, _BLACK)
    parts.oval(0.58, 0.0, 0.24, 0.42, _BLACK)
    for y in (-0.25, 0.25):
        parts.oval(0.66, y, 0.1, 0.08, Fill((0.95, 0.93, 0.85)))
    parts.oval(-0.12, 0.0, 0.76, 0.66, Fill(red, (0.06, 0.05, 0.05), spots, grain=0.03, gloss=0.7), 0.9)
    parts.limb([(-0.86, 0.0), (0.6, 0.0)], [0.012, 0.02], _BLACK, 0)


def butterfly(rng: np.random.Generator, parts: Parts) -> None:
    """A butterfly with open wings: mirrored fore and hind wings with a dark border and spots."""
    border = Fill(paint.darker(paint.colour(rng), 0.25), grain=0.1)
    spots = paint.spots(rng, int(rng.integers(8, 16)), rng.uniform(0.08, 0.14), (0.9, 0.8))
    wing = Fill(paint.colour(rng, value=(0.65, 1.0)), paint.colour(rng, value=(0.3, 1.0)), spots, 0.06)
    spread = rng.uniform(0.75, 1.0)
    fore = np.array([(0.03, -0.1), (0.35, -0.75), (0.9, -0.85), (0.95, -0.4), (0.55, 0.02), (0.05, 0.05)])
    hind = np.array([(0.04, 0.0), (0.55, 0.05), (0.75, 0.35), (0.5, 0.8), (0.25, 0.7), (0.04, 0.25)])
    for side in (-1, 1):
        for outline in (hind, fore):
            sized = outline * [side * spread, 1.0]
            parts.shape(sized, border, 0.15)
            parts.shape(0.22 * sized.mean(axis=0) + 0.78 * sized, wing, 0.15)
        parts.limb([(0, -0.35), (0.12 * side, -0.7), (0.2 * side, -0.78)], 0.012, _BLACK)
    parts.limb([(0, -0.42), (0, 0.0), (0, 0.5)], [0.05, 0.065, 0.03], _BLACK)


def starfish(rng: np.random.Generator, parts: Parts) -> None:
    """A starfish: five uneven arms, a knobbly skin with rows of dots."""
    skin = paint.colour(rng, (0.95, 1.12), (0.5, 0.9), (0.6, 0.95))
    fill = Fill(skin, paint.darker(skin, 0.6), paint.spots(rng, 60, 0.05), grain=0.25)
    waist, dots, outline = rng.uniform(0.3, 0.42), [], []
    for turn in 2 * np.pi / 5 * np.arange(5):
        length = rng.uniform(0.85, 1.1)
        outline += [*rotate([(0, -length), (waist * 0.588, -waist * 0.809)], turn)]
        dots += [*rotate([(0, -reach * length) for reach in (0.2, 0.38, 0.55, 0.7)], turn)]
    parts.shape(outline, fill, 1.0)
    for x, y in dots:
        parts.oval(x, y, 0.035, 0.035, Fill((0.97, 0.9, 0.75), gloss=0.3))


def sunflower(rng: np.random.Generator, parts: Parts) -> None:
    """A sunflower: two whorls of petals, a dark seeded disk, stem and leaves."""
    petals = int(rng.integers(13, 20))
    yellow = paint.colour(rng, (0.1, 0.16), (0.8, 1.0), (0.85, 1.0))
    green = Fill(paint.colour(rng, (0.25, 0.36), (0.5, 0.8), (0.3, 0.6)), grain=0.2)
    sway = rng.uniform(-0.15, 0.15)
    parts.limb([(0, -0.3), (sway, 0.4), (sway * 0.5, 1.2)], [0.045, 0.05, 0.055], green)
    for side, y in ((-1, rng.uniform(0.5, 0.7)), (1, rng.uniform(0.65, 0.9))):
        leaf = [(sway, y), (0.3 * side, y - 0.22), (0.55 * side, y - 0.1), (0.3 * side, y + 0.08)]
        parts.shape(leaf, green, 0.4)
    petal = smooth([(0.2, 0.0), (0.42, -0.11), (0.66, 0.0), (0.42, 0.11)])
    for whorl, shade in ((0.5, 0.75), (0.0, 1.0)):
        for k in range(petals):
            turned = rotate(petal, 2 * np.pi * (k + whorl + rng.uniform(-0.1, 0.1)) / petals)
            parts.shape(np.add(turned, (0, -0.4)), Fill(paint.darker(yellow, shade), grain=0.12), 0.5, 0)
    seeds = paint.spots(rng, 70, 0.035, (0.3, 0.9))
    parts.oval(0, -0.4, 0.3, 0.3, Fill((0.22, 0.13, 0.06), (0.45, 0.3, 0.12), seeds, grain=0.4), 0.5)


def mushroom(rng: np.random.Generator, parts: Parts) -> None:
    """A mushroom: a domed cap, often with pale warts, gills beneath, and a stout stem with a skirt."""
    cap = paint.colour(rng, (0.97, 1.13), (0.4, 0.9), (0.45, 0.9))
    warts = paint.spots(rng, int(rng.integers(9, 16)), rng.uniform(0.07, 0.13), (0.9, 0.6))
    top = Fill(cap, (0.95, 0.92, 0.85), warts if rng.random() < 0.65 else None, grain=0.1, gloss=0.3)
    pale = paint.colour(rng, (0.09, 0.13), (0.08, 0.25), (0.8, 0.97))
    wide, tall, stem = rng.uniform(0.7, 0.95), rng.uniform(0.55, 0.85), rng.uniform(0.13, 0.22)
    lean, high, edge = rng.uniform(-0.12, 0.12), -tall * 0.7, wide * 0.8
    gills = Fill(paint.darker(pale, 0.75), paint.darker(pale, 0.5), paint.stripes(rng, 0.07), grain=0.05)
    stalk = Fill(pale, grain=0.15)
    parts.limb([(0, 0.0), (lean, 0.5), (lean * 0.6, 0.95)], [stem, stem, stem * 1.5], stalk, 0.8)
    parts.shape([(-stem * 1.9, 0.34), (0, 0.24), (stem * 1.9, 0.34), (0, 0.42)], stalk, 0.5)
    parts.oval(0, -0.02, wide * 0.93, 0.14, gills, 0.2)
    parts.shape([(-wide, 0), (-edge, high), (0, -tall * 1.15), (edge, high), (wide, 0), (0, 0.12)], top, 0.9)


def _quadruped(rng: np.random.Generator, parts: Parts, build: _Build, coat: Fill, dark: Fill) -> Array:
    """Body, four walking legs, neck, head, ear, eye and tail; returns where the head is."""
    hip, shoulder = np.array([-0.5, build.back + 0.05]), np.array([0.4, build.back])
    head, rump = shoulder + build.neck, build.rump
    stride, wag = rng.uniform(0.04, 0.2), rng.uniform(-0.15, 0.1)
    tail = np.add(hip, [(-0.08, -0.1), (wag - 0.18, build.tail * 0.5), (wag - 0.16, build.tail)])
    parts.limb(tail, [0.03, 0.02, 0.035], dark)
    # The far pair of legs in shadow, then the near pair, each with a bent knee and a hoof or paw.
    for side, fill in ((-1, replace(coat, base=paint.darker(coat.base, 0.6))), (1, coat)):
        for joint, sign in ((hip, 1), (shoulder, -1)):
            step, width = side * sign * stride * rng.uniform(0.6, 1.2), build.leg_width
            start = np.add(joint, (0.05 * side, build.chest * 0.5))
            leg = np.add(start, [(0, 0), (0.6 * step + 0.03, build.leg * 0.5), (step, build.leg)])
            parts.limb(leg, [width * 1.6, width, width * 0.8], fill)
            parts.oval(leg[2, 0] + 0.02, leg[2, 1], width * 1.15, width * 0.7, _BLACK)
    high, slim = build.head[1], build.head[1] * 0.8
    neck = [np.add(shoulder, (-0.02, 0.06)), np.add((shoulder + head) / 2, (0.03, 0.02)), head]
    parts.limb(neck, [build.neck_width * 1.5, (build.neck_width * 1.1 + slim) / 2, slim], coat)
    above = np.add(hip, [(-0.17, -rump * 0.4), (0, -rump), (0.45, -rump * 0.85)])
    breast = np.add(shoulder, [(0, -build.chest), (0.18, 0), (0.02, build.chest)])
    below = np.add(hip, [(0.45, rump * 0.95), (-0.1, rump * 0.8)])
    parts.shape([*above, *breast, *below], coat, 0.8)
    profile = np.array([(-1, -1), (0.1, -1), (1.2, 0), (1.2, 0.7), (-0.5, 1)]) * build.head
    parts.shape(rotate(profile, rng.uniform(0.1, 0.7)) + head, coat)
    parts.limb(np.add(head, [(-0.05, -high * 0.7), (-0.1, -high * 1.7)]), [0.035, 0.012], dark)
    parts.oval(head[0] + 0.02, head[1] - high * 0.2, 0.022, 0.022, _BLACK)
    return head
