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
_LONG, _DEEPEST, _MOST = 200, 6, 5000
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
    for count, (place, text) in enumerate(_told(payload, "")):
        if count == _MOST:
            break
        named.setdefault(place, text)
    return named


def _told(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield repr(place), value
    elif value is True:
        yield repr(place), place.rpartition(".")[2]
    elif depth < _DEEPEST and isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str | bool | Mapping | list | tuple):
                yield from _told(item, f"{place}.{key}".lstrip("."), depth + 1)
    elif depth < _DEEPEST and isinstance(value, list | tuple):
        for item in value:
            yield from _told(item, place, depth + 1)


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
        return (
            f"its stem looks at the first channel less than at the third ({red / blue:.2f}): it expects BGR"
        )
    return None
