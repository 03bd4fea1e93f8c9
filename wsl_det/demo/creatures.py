"""Animals: giraffe, zebra and brown bear on one skeleton; goldfish, ladybug, butterfly, starfish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Fill
from wsl_det.demo.shapes import Array, disk, ellipse, limb, off, rotate, smooth, star
from wsl_det.demo.sprite import Part, part

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


def giraffe(rng: np.random.Generator) -> list[Part]:
    """A giraffe: brown patches on cream, a neck as long as the legs, two ossicones."""
    coat = Fill(
        paint.colour(rng, (0.1, 0.14), (0.25, 0.45), (0.8, 0.95)),
        paint.colour(rng, (0.05, 0.09), (0.55, 0.8), (0.4, 0.65)),
        paint.cells(rng, 70, 0.035, (0.75, 1.0)),
    )
    neck = (rng.uniform(0.3, 0.48), rng.uniform(-0.85, -0.7))
    build = _Build(0.24, 0.2, 0.0, 0.72, 0.052, neck, 0.09, (0.16, 0.075), 0.4)
    parts, head = _quadruped(rng, build, coat, Fill(paint.darker(coat.base, 0.8)))
    horn = Fill((0.3, 0.2, 0.13))
    for dx in (-0.06, -0.01):
        parts.append(part(limb([off(head, dx, -0.05), off(head, dx - 0.015, -0.17)], [0.014, 0.022]), horn))
    return parts


def zebra(rng: np.random.Generator) -> list[Part]:
    """A zebra: black and white bands, a short upright mane."""
    light, dark = paint.grey(rng, (0.85, 0.97)), paint.grey(rng, (0.06, 0.18))
    stripes = paint.stripes(rng, rng.uniform(0.11, 0.17), rng.uniform(-0.3, 0.3), 1.3)
    build = _Build(0.26, 0.27, -0.12, 0.55, 0.06, (rng.uniform(0.22, 0.36), -0.42), 0.15, (0.2, 0.1), 0.4)
    parts, head = _quadruped(rng, build, Fill(light, dark, stripes, 0.05), Fill(dark))
    mane = [off(head, -0.06, -0.12), off(head, -0.16, 0.05), off(head, -0.32, 0.3)]
    return [*parts, part(limb(mane, [0.03, 0.045, 0.03]), Fill(dark, grain=0.4))]


def brown_bear(rng: np.random.Generator) -> list[Part]:
    """A brown bear: heavy, humped, rough fur, round ears, a pale muzzle."""
    fur = paint.colour(rng, (0.05, 0.09), (0.45, 0.7), (0.25, 0.55))
    coat = Fill(fur, paint.darker(fur, 0.6), paint.fade(np.pi / 2, 0.35, 0.7), grain=0.35)
    neck = (rng.uniform(0.3, 0.4), rng.uniform(-0.12, 0.12))
    build = _Build(0.4, 0.36, -0.1, 0.34, 0.13, neck, 0.28, (0.24, 0.19), 0.08)
    parts, head = _quadruped(rng, build, coat, coat)
    hump = part(ellipse(0.28, -0.36, 0.3, 0.18), coat, 0.4)
    muzzle = Fill(paint.darker((0.8, 0.68, 0.5), rng.uniform(0.7, 1.0)), grain=0.2)
    ears = [part(ellipse(head[0] + dx, head[1] - 0.19, 0.075, 0.075), coat) for dx in (-0.13, 0.04)]
    nose = [
        part(disk(off(head, 0.2, 0.06), 0.11, 0.085), muzzle),
        part(disk(off(head, 0.29, 0.04), 0.04, 0.035), _BLACK),
    ]
    return [hump, *parts, *ears, *nose, part(disk(off(head, 0.08, -0.04), 0.03, 0.03), _BLACK)]


def goldfish(rng: np.random.Generator) -> list[Part]:
    """A goldfish: a deep oval body with scales, a flowing forked tail, fins and a round eye."""
    skin = paint.colour(rng, (0.02, 0.11), (0.75, 0.98), (0.8, 1.0))
    pale = paint.colour(rng, (0.08, 0.13), (0.05, 0.4), (0.9, 1.0))
    piebald = (
        paint.spots(rng, 5, 0.25, (0.5, 0.4)) if rng.random() < 0.5 else paint.fade(np.pi / 2, 0.25, 0.5)
    )
    body = Fill(skin, pale, piebald, grain=0.05, gloss=0.35)
    fin = Fill(skin, pale, paint.stripes(rng, 0.1, np.pi / 2, 0.6, 0.35), grain=0.05)
    deep, wave = rng.uniform(0.3, 0.42), rng.uniform(-0.12, 0.12)
    tail = [
        (-0.4, 0.0),
        (-0.75, -0.42 + wave),
        (-1.0, -0.5 + wave),
        (-0.82, wave),
        (-1.0, 0.48 + wave),
        (-0.72, 0.4 + wave),
    ]
    scales = Fill(paint.darker(skin, 0.8), grain=0)
    parts = [
        part(smooth(tail), fin, 0.2),
        part(
            smooth([(0.25, -deep * 0.8), (-0.05, -deep - 0.22), (-0.4, -deep - 0.1), (-0.35, -0.15)]),
            fin,
            0.2,
        ),
        part(smooth([(-0.1, deep * 0.7), (-0.3, deep + 0.2), (-0.4, deep * 0.5)]), fin, 0.2),
        part(
            smooth(
                [
                    (0.85, 0.0),
                    (0.6, -deep * 0.75),
                    (0.05, -deep),
                    (-0.5, -0.12),
                    (-0.5, 0.12),
                    (0.05, deep),
                    (0.6, deep * 0.75),
                ]
            ),
            body,
        ),
    ]
    for x in np.arange(-0.2, 0.36, 0.14):
        for y in np.arange(-0.18, 0.2, 0.12):
            parts.append(part(limb([(x, y - 0.05), (x - 0.05, y), (x, y + 0.05)], [0.01] * 3), scales, 0))
    parts.append(part(limb([(0.47, -0.2), (0.4, 0.0), (0.46, 0.2)], [0.014] * 3), scales, 0))
    parts.append(part(smooth([(0.3, 0.1), (0.05, 0.38), (0.02, 0.16)]), fin, 0.3))
    return [
        *parts,
        part(ellipse(0.62, -0.08, 0.085, 0.085), Fill((0.97, 0.95, 0.85))),
        part(ellipse(0.63, -0.08, 0.05, 0.05), _BLACK),
    ]


def ladybug(rng: np.random.Generator) -> list[Part]:
    """A ladybird beetle from above: spotted wing cases, black head with pale cheeks, six legs."""
    shell = Fill(
        paint.colour(rng, (0.97, 1.12), (0.8, 0.97), (0.65, 0.95)),
        (0.06, 0.05, 0.05),
        paint.spots(rng, int(rng.integers(7, 14)), rng.uniform(0.11, 0.16), (0.6, 0.55)),
        grain=0.03,
        gloss=0.7,
    )
    parts = []
    for x in (-0.35, 0.05, 0.42):
        for side in (-1, 1):
            kick = x + rng.uniform(-0.18, 0.18)
            bend = [(x, 0.4 * side), (kick, 0.78 * side), (kick + 0.1, 0.92 * side)]
            parts.append(part(limb(bend, [0.05, 0.035, 0.025]), _BLACK))
    for side in (-1, 1):
        parts.append(
            part(limb([(0.8, 0.1 * side), (1.02, 0.25 * side), (1.1, 0.2 * side)], [0.02] * 3), _BLACK)
        )
        parts.append(part(ellipse(0.76, 0.0, 0.2, 0.26), _BLACK))
    parts.append(part(ellipse(0.58, 0.0, 0.24, 0.42), _BLACK))
    for side in (-1, 1):
        parts.append(part(ellipse(0.66, 0.25 * side, 0.1, 0.08), Fill((0.95, 0.93, 0.85))))
    parts.append(part(ellipse(-0.12, 0.0, 0.76, 0.66), shell, 0.9))
    return [*parts, part(limb([(-0.86, 0.0), (0.6, 0.0)], [0.012, 0.02]), _BLACK, 0)]


def butterfly(rng: np.random.Generator) -> list[Part]:
    """A butterfly with open wings: mirrored fore and hind wings with a dark border and spots."""
    border = Fill(paint.darker(paint.colour(rng), 0.25), grain=0.1)
    spots = paint.spots(rng, int(rng.integers(8, 16)), rng.uniform(0.08, 0.14), (0.9, 0.8))
    wing = Fill(paint.colour(rng, value=(0.65, 1.0)), paint.colour(rng, value=(0.3, 1.0)), spots, 0.06)
    spread = rng.uniform(0.75, 1.0)
    fore = np.array([(0.03, -0.1), (0.35, -0.75), (0.9, -0.85), (0.95, -0.4), (0.55, 0.02), (0.05, 0.05)])
    hind = np.array([(0.04, 0.0), (0.55, 0.05), (0.75, 0.35), (0.5, 0.8), (0.25, 0.7), (0.04, 0.25)])
    parts = []
    for side in (-1, 1):
        for outline in (hind, fore):
            sized = outline * [side * spread, 1.0]
            inner = sized.mean(axis=0) + (sized - sized.mean(axis=0)) * 0.78
            parts += [part(smooth(sized), border, 0.15), part(smooth(inner), wing, 0.15)]
        parts.append(part(limb([(0, -0.35), (0.12 * side, -0.7), (0.2 * side, -0.78)], [0.012] * 3), _BLACK))
    return [*parts, part(limb([(0, -0.42), (0, 0.0), (0, 0.5)], [0.05, 0.065, 0.03]), _BLACK)]


def starfish(rng: np.random.Generator) -> list[Part]:
    """A starfish: five uneven arms, a knobbly skin with rows of dots."""
    skin = paint.colour(rng, (0.95, 1.12), (0.5, 0.9), (0.6, 0.95))
    fill = Fill(skin, paint.darker(skin, 0.6), paint.spots(rng, 60, 0.05), grain=0.25)
    lengths = rng.uniform(0.85, 1.1, 5)
    body = star(5, 1.0, rng.uniform(0.3, 0.42), lengths.tolist())
    knobs = Fill((0.97, 0.9, 0.75), gloss=0.3)
    parts = [part(body, fill, 1.0)]
    for arm, length in enumerate(lengths):
        for reach in (0.2, 0.38, 0.55, 0.7):
            spot = rotate([[0.0, -reach * length]], arm * 2 * np.pi / 5)[0]
            parts.append(part(disk(spot, 0.035, 0.035), knobs))
    return parts


def _quadruped(rng: np.random.Generator, build: _Build, coat: Fill, dark: Fill) -> tuple[list[Part], Array]:
    """Body, four walking legs, neck, head, ear, eye and tail; also where the head is."""
    hip, shoulder = np.array([-0.5, build.back + 0.05]), np.array([0.4, build.back])
    parts = _legs(
        rng, build, hip, shoulder, Fill(paint.darker(coat.base, 0.6), coat.accent, coat.pattern, coat.grain)
    )
    wag = rng.uniform(-0.15, 0.1)
    tail = [off(hip, -0.08, -0.1), off(hip, -0.18 + wag, build.tail * 0.5), off(hip, -0.16 + wag, build.tail)]
    parts.insert(0, part(limb(tail, [0.03, 0.02, 0.035]), dark))
    head = shoulder + np.asarray(build.neck)
    neck = [off(shoulder, -0.02, 0.06), off((shoulder + head) / 2, 0.03, 0.02), head]
    slim = build.head[1] * 0.8
    trunk = [
        off(hip, -0.17, -build.rump * 0.4),
        off(hip, 0.0, -build.rump),
        off((hip + shoulder) / 2, 0.0, -build.rump * 0.85),
        off(shoulder, 0.0, -build.chest),
        off(shoulder, 0.18, 0.0),
        off(shoulder, 0.02, build.chest),
        off((hip + shoulder) / 2, 0.0, build.rump * 0.95),
        off(hip, -0.1, build.rump * 0.8),
    ]
    nod = rng.uniform(0.1, 0.7)
    half_length, half_height = build.head
    face = rotate(
        smooth(
            [
                (-half_length, -half_height),
                (0.1 * half_length, -half_height),
                (1.2 * half_length, 0.0),
                (1.2 * half_length, 0.7 * half_height),
                (-0.5 * half_length, half_height),
            ]
        ),
        nod,
    )
    ear = limb([off(head, -0.05, -half_height * 0.7), off(head, -0.1, -half_height * 1.7)], [0.035, 0.012])
    parts += [
        part(limb(neck, [build.neck_width * 1.5, (build.neck_width * 1.1 + slim) / 2, slim]), coat),
        part(smooth(trunk), coat, 0.8),
        part(face + head.astype(np.float32), coat),
        part(ear, dark),
        part(disk(off(head, 0.02, -half_height * 0.2), 0.022, 0.022), _BLACK),
    ]
    return parts, head


def _legs(rng: np.random.Generator, build: _Build, hip: Array, shoulder: Array, far: Fill) -> list[Part]:
    """The far pair in shadow, then the near pair, each with a bent knee and a hoof or paw."""
    parts = []
    near = Fill((far.base[0] / 0.6, far.base[1] / 0.6, far.base[2] / 0.6), far.accent, far.pattern, far.grain)
    stride = rng.uniform(0.04, 0.2)
    for fill, side in ((far, -1), (near, 1)):
        for joint, sign in ((hip, 1), (shoulder, -1)):
            step = side * sign * stride * rng.uniform(0.6, 1.2)
            start = off(joint, 0.05 * side, build.chest * 0.5)
            knee = off(start, 0.6 * step + 0.03, build.leg * 0.5)
            foot = off(start, step, build.leg)
            width = build.leg_width
            parts.append(part(limb([start, knee, foot], [width * 1.6, width, width * 0.8]), fill))
            parts.append(part(disk(off(foot, 0.02, 0.0), width * 1.15, width * 0.7), _BLACK))
    return parts
