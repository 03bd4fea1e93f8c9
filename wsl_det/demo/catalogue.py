"""What can be in a picture: the classes, how each is drawn, where it is found, and how people tag it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wsl_det.demo import nature, vehicles
from wsl_det.demo.paint import Parts

GROUND, AIR, FLAT = "ground", "air", "flat"  # stands on the ground; floats; lies flat, any way up


@dataclass(frozen=True)
class Kind:
    """One class of the demo.

    ``synonyms`` are words whose only WordNet 3.0 noun synset is ``synset``, so a vocabulary merges
    them. ``ambiguous`` words have ``synset`` among several (#car, #plane), ``broader`` words mean
    something wider (#fish): by the paper's rule of equal synset sets each is a class of its own.
    """

    name: str
    synset: str
    draw: Callable[[np.random.Generator, Parts], None]
    stance: str
    size: float  # typical length relative to the other classes
    scenes: tuple[str, ...]
    synonyms: tuple[str, ...]
    ambiguous: tuple[str, ...] = ()
    broader: tuple[str, ...] = ()
    detected: bool = True  # False: only posts show it


# In the order of popularity: posts follow a power law over it.
# fmt: off
KINDS: tuple[Kind, ...] = (
    Kind("automobile", "n02958343", vehicles.automobile, GROUND, 1.0, ("street", "meadow", "desert"),
         ("automobile", "motorcar", "auto"), ("car",)),
    Kind("sailboat", "n04128499", vehicles.sailboat, GROUND, 1.05, ("sea",),
         ("sailboat", "sailing_boat"), (), ("boat",)),
    Kind("butterfly", "n02274259", nature.butterfly, FLAT, 0.8, ("leaves", "meadow", "table"),
         (), ("butterfly",), ("insect",), detected=False),
    Kind("umbrella", "n04507155", vehicles.umbrella, GROUND, 0.95, ("street", "meadow", "desert"),
         (), ("umbrella",)),
    Kind("bicycle", "n02834778", vehicles.bicycle, GROUND, 1.0, ("street", "meadow"),
         ("bicycle",), ("bike", "cycle")),
    Kind("airplane", "n02691156", vehicles.airplane, AIR, 1.1, ("sky", "sea", "desert"),
         ("airplane", "aeroplane"), ("plane",), ("aircraft",)),
    Kind("sunflower", "n11978233", nature.sunflower, GROUND, 1.0, ("meadow", "leaves"),
         ("sunflower", "helianthus"), (), ("flower",), detected=False),
    Kind("bus", "n02924116", vehicles.bus, GROUND, 1.2, ("street", "desert"),
         ("autobus", "motorbus", "motorcoach"), ("bus", "coach")),
    Kind("goldfish", "n01443537", nature.goldfish, AIR, 0.8, ("reef",),
         ("goldfish", "Carassius_auratus"), (), ("fish",)),
    Kind("lighthouse", "n02814860", vehicles.lighthouse, GROUND, 1.15, ("sea", "meadow"),
         ("lighthouse", "beacon_light", "pharos"), ("beacon",)),
    Kind("zebra", "n02391049", nature.zebra, GROUND, 1.0, ("meadow", "desert"),
         ("zebra",)),
    Kind("ladybug", "n02165456", nature.ladybug, FLAT, 0.7, ("leaves", "table"),
         ("ladybug", "ladybird", "lady_beetle", "ladybird_beetle"), (), ("insect",)),
    Kind("giraffe", "n02439033", nature.giraffe, GROUND, 1.15, ("meadow", "desert"),
         ("giraffe", "camelopard", "Giraffa_camelopardalis")),
    Kind("mushroom", "n13001041", nature.mushroom, GROUND, 0.8, ("meadow", "leaves", "table"),
         (), ("mushroom",), detected=False),
    Kind("brown_bear", "n02132136", nature.brown_bear, GROUND, 1.05, ("meadow",),
         ("brown_bear", "Ursus_arctos"), ("bruin",), ("bear",)),
    Kind("starfish", "n02317335", nature.starfish, FLAT, 0.75, ("reef", "table"),
         ("starfish", "sea_star"), detected=False),
)
# fmt: on

DETECTED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.detected)

# Words under posts that say nothing about the picture. Most are no WordNet nouns and vanish; a
# few are (#love, #nature, #travel) and stay, the noise that real vocabularies carry too.
NOISE_TAGS: tuple[str, ...] = (
    "instagood", "photooftheday", "picoftheday", "nofilter", "instadaily", "igers", "tbt", "igersdaily",
    "follow4follow", "likeforlike", "beautiful", "happy", "amazing", "throwbackthursday", "vscocam",
    "InstaMood", "weekendvibes", "love", "nature", "travel", "2026", "❤️", "été",
)  # fmt: skip
