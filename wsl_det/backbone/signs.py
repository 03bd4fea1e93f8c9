"""Signs that a file's tensors belong to another function than the plain ResNe(X)t whose names they have.

Blur pooling, group norm, other activations and Caffe's pixels change neither names nor shapes, and the
proof of parity cannot see them: it is made against the model that the file is taken for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from wsl_det.backbone import conventions, reference

FUNCTIONS = {
    "blur pooling (anti-aliasing)": {"blur", "blurpool", "aa", "antialias", "antialiased", "aliased", "lpf"},
    "group norm": {"gn", "groupnorm", "wsgn"},
    "instance norm": {"ibn", "instancenorm"},
    "another activation": {"silu", "swish", "mish", "gelu", "frelu", "evonorm", "evos"},
    "dilated convolutions": {"dilated", "deeplabv", "deeplab", "fcn", "pspnet"},
    "TensorFlow's padding": {"tf", "tensorflow", "keras"},
}
PIXELS = {"Caffe's pixels or strides": {"caffe", "msra", "detectron", "bgr"}}
# A dump of a whole configuration speaks of heads and tools too; of these words it is believed.
_IN_LONG_TEXTS = {"caffe", "msra", "blurpool", "antialiased"}
_LONG, _DEEPEST, _LIST = 200, 6, 40  # longer lists are of classes
_STEM, _NORM = "stem.conv1.weight", "stem.conv1.norm"
# The median deviation behind the stem's norm is 0.15 and 0.18 for torchvision's pixels in the two trained
# ResNets measured (0.17 in one fresh from its initialisation) and 0.003 when they expect pixels of 0-255.
_FAINT = (5e-4, 0.03)
# Their filters have 1.5 and 1.6 times the energy in red that they have in blue; at random 1.
_BLUISH = 0.75


def words(text: str) -> set[str]:
    """The whole words of a name: ``resnetaa50d_gn-8fe6c4d0`` has aa, d, gn and a hash, not fe."""
    found = set()
    for token in re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)):
        word = token.lower()
        if re.search(r"resne(x?t|st)", word):
            found |= set(re.findall(r"[a-z]+", re.sub(r"resne(x?t|st)", " ", word)))
        else:
            found.add(re.sub(r"(?<=[a-z])\d{1,2}$", "", word))
    return found


def told(kinds: Mapping[str, set[str]], texts: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The first sign in ``texts`` (where it stands -> text): what it tells of, the word, and where."""
    for where, text in texts.items():
        found = words(text) & (_IN_LONG_TEXTS if len(text) > _LONG else set().union(*kinds.values()))
        for what, known in kinds.items():
            if both := sorted(found & known):
                return what, both[0], where
    return None


def texts(file: Path, payload: Mapping[str, Any]) -> dict[str, str]:
    """What a file is called, here and in Hugging Face's cache, and the texts it holds, by their place."""
    named = {"its name": file.stem}
    hub = next((p for p in file.absolute().parts if p.startswith("models--")), None)
    if hub:
        named["its repository"] = hub
    seen: set[int] = set()  # a file may name one of its parts without end
    level: list[tuple[str, Any]] = [("", payload)]
    for _ in range(_DEEPEST):
        level = [pair for place, value in level for pair in _inside(place, value, seen)]
        named |= {repr(place): value for place, value in level if isinstance(value, str)}
    return named


def _inside(place: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The texts, dicts and lists in a dict or list, with their places; a flag that is set is its name."""
    listed = isinstance(value, list | tuple) and len(value) <= _LIST
    if not (listed or isinstance(value, Mapping)) or id(value) in seen:
        return
    seen.add(id(value))
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        below = f"{place}.{key}".lstrip(".")
        if item is True:
            yield below, str(key)
        elif isinstance(item, str | Mapping | list | tuple):
            yield below, item


def of_other_pixels(weights: Mapping[str, Tensor]) -> str | None:
    """What the stem's numbers tell against torchvision's pixels, or None."""
    stem = weights[_STEM]
    pictures = reference.source_input(reference.probe(), conventions.TORCHVISION)
    spread = F.conv2d(pictures, stem, stride=2, padding=3).std(dim=(0, 2, 3))
    scale = weights[f"{_NORM}.weight"].abs() / (weights[f"{_NORM}.running_var"] + 1e-5).sqrt()
    behind = float((spread * scale).median())
    if _FAINT[0] < behind < _FAINT[1]:
        return f"its stem hardly answers to pixels of deviation 1 ({behind:.1g}): it expects 0-255"
    red, _, blue = stem.square().sum(dim=(0, 2, 3)).tolist()
    if 0 < red < _BLUISH * blue:
        return f"its stem looks at the first channel less than the third ({red / blue:.2f}): it expects BGR"
    return None
