"""Plants and fungi that only posts show: sunflower and mushroom."""

from __future__ import annotations

import numpy as np

from wsl_det.demo import paint
from wsl_det.demo.paint import Fill
from wsl_det.demo.shapes import off, rotate, smooth
from wsl_det.demo.sprite import Parts


def sunflower(rng: np.random.Generator) -> Parts:
    """A sunflower: two whorls of petals, a dark seeded disk, stem and leaves."""
    petals = int(rng.integers(13, 20))
    yellow = paint.colour(rng, (0.1, 0.16), (0.8, 1.0), (0.85, 1.0))
    green = Fill(paint.colour(rng, (0.25, 0.36), (0.5, 0.8), (0.3, 0.6)), grain=0.2)
    sway = rng.uniform(-0.15, 0.15)
    parts = Parts()
    parts.limb([(0, -0.3), (sway, 0.4), (sway * 0.5, 1.2)], [0.045, 0.05, 0.055], green)
    for side, y in ((-1, rng.uniform(0.5, 0.7)), (1, rng.uniform(0.65, 0.9))):
        leaf = [(sway, y), (0.3 * side, y - 0.22), (0.55 * side, y - 0.1), (0.3 * side, y + 0.08)]
        parts.shape(leaf, green, 0.4)
    petal = smooth([(0.2, 0.0), (0.42, -0.11), (0.66, 0.0), (0.42, 0.11)])
    for whorl, shade in ((0.5, 0.75), (0.0, 1.0)):
        for k in range(petals):
            turned = rotate(petal, 2 * np.pi * (k + whorl + rng.uniform(-0.1, 0.1)) / petals)
            parts.shape(off(turned, 0, -0.4), Fill(paint.darker(yellow, shade), grain=0.12), 0.5, 0)
    seeds = paint.spots(rng, 70, 0.035, (0.3, 0.9))
    parts.oval(0, -0.4, 0.3, 0.3, Fill((0.22, 0.13, 0.06), (0.45, 0.3, 0.12), seeds, grain=0.4), 0.5)
    return parts


def mushroom(rng: np.random.Generator) -> Parts:
    """A mushroom: a domed cap, often with pale warts, gills beneath, and a stout stem with a skirt."""
    cap = paint.colour(rng, (0.97, 1.13), (0.4, 0.9), (0.45, 0.9))
    warts = paint.spots(rng, int(rng.integers(9, 16)), rng.uniform(0.07, 0.13), (0.9, 0.6))
    top = Fill(cap, (0.95, 0.92, 0.85), warts if rng.random() < 0.65 else None, grain=0.1, gloss=0.3)
    pale = paint.colour(rng, (0.09, 0.13), (0.08, 0.25), (0.8, 0.97))
    wide, tall, stem = rng.uniform(0.7, 0.95), rng.uniform(0.55, 0.85), rng.uniform(0.13, 0.22)
    lean = rng.uniform(-0.12, 0.12)
    gills = Fill(paint.darker(pale, 0.75), paint.darker(pale, 0.5), paint.stripes(rng, 0.07), grain=0.05)
    stalk = Fill(pale, grain=0.15)
    high, edge = -tall * 0.7, wide * 0.8
    parts = Parts()
    parts.limb([(0, 0.0), (lean, 0.5), (lean * 0.6, 0.95)], [stem, stem, stem * 1.5], stalk, 0.8)
    parts.shape([(-stem * 1.9, 0.34), (0, 0.24), (stem * 1.9, 0.34), (0, 0.42)], stalk, 0.5)
    parts.oval(0, -0.02, wide * 0.93, 0.14, gills, 0.2)
    dome = [(-wide, 0), (-edge, high), (0, -tall * 1.15), (edge, high), (wide, 0), (0, 0.12)]
    parts.shape(dome, top, 0.9)
    return parts
