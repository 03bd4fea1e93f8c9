"""What people write under a picture: tags in many spellings, noise, silence, at times a wrong word."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wsl_det.demo.catalogue import KINDS, NOISE_TAGS, Kind

_MISSING = 0.12  # an object that nobody mentions
_WRONG = 0.07  # a post with the tag of a class that is not in the picture
_SILENT = 0.02  # a post without any tag
_PHRASES = (
    "What a day!", "Look who I met", "weekend vibes", "No filter needed", "so close!", "Guten Morgen ☀️",
    "finally here...", "from last summer", "¡qué bonito!", "best shot so far", "10/10",
)  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A post's text, and whether a tag in it is wrong or the tags of some objects are missing."""

    text: str
    wrong: str | None
    missing: tuple[str, ...]


def write(rng: np.random.Generator, shown: list[Kind]) -> Caption:
    """A caption for a picture that shows the classes ``shown``."""
    distinct = list({kind.name: kind for kind in shown}.values())
    if rng.random() < _SILENT:
        return Caption(str(rng.choice(_PHRASES)), None, tuple(k.name for k in distinct))
    named = [kind for kind in distinct if rng.random() >= _MISSING]
    tags = [tag for kind in named for tag in _tags(rng, kind)]
    wrong = None
    if rng.random() < _WRONG:
        others = [kind for kind in KINDS if kind not in distinct]
        stranger = others[int(rng.integers(len(others)))]
        wrong = stranger.name
        tags += _tags(rng, stranger)[:1]
    noise = rng.choice(len(NOISE_TAGS), int(rng.integers(0, 4)), replace=False)
    tags += [NOISE_TAGS[k] for k in noise]
    text = _sentence(rng, [tags[k] for k in rng.permutation(len(tags))])
    return Caption(text, wrong, tuple(k.name for k in distinct if k not in named))


def _tags(rng: np.random.Generator, kind: Kind) -> list[str]:
    """One or two words for a class, each in some spelling."""
    words = []
    if kind.synonyms:
        # The first synonym is the common one; the Latin and old-fashioned ones are rare.
        weight = np.array([2.0] + [1.0] * (len(kind.synonyms) - 1))
        words.append(str(rng.choice(kind.synonyms, p=weight / weight.sum())))
        if len(kind.synonyms) > 1 and rng.random() < 0.15:
            words.append(str(rng.choice(kind.synonyms)))
    if kind.ambiguous and (not words or rng.random() < 0.2):
        words.append(str(rng.choice(kind.ambiguous)))
    if kind.broader and rng.random() < 0.15:
        words.append(str(rng.choice(kind.broader)))
    return [_spelling(rng, word) for word in words]


def _spelling(rng: np.random.Generator, word: str) -> str:
    """``brown_bear`` as #brownbear, #BrownBear, #brown_bear, #BROWNBEAR or #brownbears."""
    pieces = word.split("_")
    style = rng.choice(5, p=[0.4, 0.2, 0.2, 0.08, 0.12])
    if style == 1:
        return "".join(piece[:1].upper() + piece[1:] for piece in pieces)
    if style == 2:
        return word
    if style == 3:
        return "".join(pieces).upper()
    if style == 4 and word == word.lower():
        return _plural("".join(pieces))
    return "".join(pieces).lower()


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "sh", "ch")) else "s")


def _sentence(rng: np.random.Generator, tags: list[str]) -> str:
    """Phrase and tags; tags stand apart, in a heap, or without any space between them."""
    phrase = str(rng.choice(_PHRASES)) + " " if rng.random() < 0.3 else ""
    style = rng.choice(3, p=[0.75, 0.15, 0.1])
    between = (" ", "\n", "")[style]
    hashed = ["#" + tag for tag in tags]
    if style == 2 and any(not before[-1].isalnum() for before, _ in pairwise(hashed)):
        between = " "
    return (phrase + between.join(hashed)).strip()
