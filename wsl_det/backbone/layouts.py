"""Where in a file the trunk is: wrappers around it, prefix before it, names it is written in."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsl_det.backbone import arch as arches
from wsl_det.backbone import names
from wsl_det.errors import CheckpointError, as_lines

TORCHVISION, DETECTRON2, CAFFE2 = "torchvision", "detectron2", "caffe2"
_LANDMARK = {
    TORCHVISION: "layer1.0.conv1.weight",
    DETECTRON2: "res2.0.conv1.weight",
    CAFFE2: "res2_0_branch2a_w",
}
_RENAME: dict[str, Callable[[str], str]] = {
    TORCHVISION: names.to_detectron2,
    DETECTRON2: lambda key: key,
    CAFFE2: names.from_caffe2,
}
_SHOWN, _DEEPEST = 10, 8
# Modules of a trunk by their first name; what else stands beside them is a head, a queue, a neck.
_OF_TRUNK = re.compile(r"(stem|conv|bn|gn|norm|layer|res|blocks?|stages?|maxpool|pool|act)\d*(_.*)?")

# What may be left behind, and why; anything else that is not of the trunk stops the export.
_DROPPED = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"(.*\.)?num_batches_tracked", "a counter that frozen batch norm does not use"),
        (
            r"(stem\.)?(fc|head|head\.fc|classifier|linear|last_linear)\.(weight|bias)",
            "the classification head",
        ),
        (r"(pred|fc1000|linear)_[wb]", "the classification head"),
        (r".*_momentum", "the optimiser's"),
        (r"lr|weight_order", "the optimiser's"),
        (r"(.*\.)?(proposal_generator|rpn|roi_heads|fpn|fpn_lateral\d|fpn_output\d)\..*", "the detector's"),
        (r"(.*\.)?(pixel_mean|pixel_std|anchor_generator\..*)", "the detector's"),
    )
)


@dataclass(frozen=True)
class KeyFate:
    """What became of one key of the source: its new name (``became``), or why it was dropped (``reason``)."""

    key: str
    fate: str  # "used" or "dropped"
    shape: list[int]
    dtype: str
    became: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Located:
    """A trunk found in a file; ``tensors`` by Detectron2's names, ``originals`` by the file's, unprefixed."""

    layout: str
    wrapper: str
    prefix: str
    tensors: dict[str, Tensor]
    originals: dict[str, Tensor]
    fates: list[KeyFate]


def locate(
    payload: Mapping[str, Any], where: str, *, wrapper: str | None = None, prefix: str | None = None
) -> Located:
    """Find the trunk in a loaded file and account for every key.

    ``wrapper`` names the entry to take when several hold a trunk (``state_dict_ema``), ``prefix`` the
    start of its keys (``encoder_q.``). Raises CheckpointError when there is no trunk, when there are
    several whole ones, or when a key stands in the trunk's modules and is none of a ResNe(X)t's.
    """
    found = _candidates(payload, wrapper, prefix)
    if not found:
        inside = next((v for v in payload.values() if isinstance(v, Mapping) and v), payload)
        keys = ", ".join(str(k) for k in list(inside)[:6])
        raise CheckpointError(
            f"{where} holds no ResNe(X)t trunk under a known name (keys: {keys}, ...); expected "
            f"{', '.join(_LANDMARK.values())} behind any prefix"
        )
    if len(found) > 1:
        found = [f for f in found if _is_whole(box(payload, f[0]), f[1], f[2])] or found
    if len(found) > 1:
        several = [f"--wrapper {w or '(none)'} --prefix {p or '(none)'}" for w, p, _ in found]
        raise CheckpointError(f"{where} holds {len(found)} trunks; choose one:{as_lines(several, _SHOWN)}")
    wrapper, prefix, layout = found[0]
    located = _account(box(payload, wrapper), where, prefix=prefix, layout=layout)
    return replace(located, wrapper=wrapper, fates=located.fates + _beside(payload, wrapper))


def box(payload: Mapping[str, Any], wrapper: str) -> Mapping[str, Any]:
    """The dict in ``payload`` that ``wrapper`` names, the names on the way to it joined by dots."""
    return next(box for name, box in _boxes(payload) if name == wrapper)


def _boxes(payload: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every dict in a file, each once, with the names on the way to it."""
    found: list[tuple[str, Mapping[str, Any]]] = [("", payload)]
    seen, level = {id(payload)}, found
    for _ in range(_DEEPEST):
        inner = []
        for name, outer in level:
            for key, value in outer.items():
                if isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    inner.append((f"{name}.{key}" if name else str(key), value))
        found, level = found + inner, inner
    return found


def _beside(payload: Mapping[str, Any], wrapper: str) -> list[KeyFate]:
    """The fates of what lies beside the trunk's dict, at every level on the way to it."""
    fates, name, outer = [], "", payload
    while name != wrapper:
        inside = ""
        for key, value in outer.items():
            full = f"{name}.{key}" if name else str(key)
            if isinstance(value, Mapping) and (wrapper == full or wrapper.startswith(f"{full}.")):
                inside, below = full, value
            else:
                fates.append(_fate(full, value, reason=f"not in {wrapper!r}, where the trunk is"))
        name, outer = inside, below
    return fates


def _candidates(
    payload: Mapping[str, Any], wrapper: str | None, prefix: str | None
) -> list[tuple[str, str, str]]:
    """(wrapper, prefix, layout) of every trunk in the file."""
    found = []
    for name, state in _boxes(payload):
        for key in state:
            for layout, landmark in _LANDMARK.items():
                head = str(key).removesuffix(landmark)
                if head != key and (head == "" or head.endswith((".", "_", "/"))):
                    found.append((name, head, layout))
    if wrapper is not None:
        found = [f for f in found if f[0] == wrapper]
    if prefix is not None:
        found = [f for f in found if f[1] == prefix]
    return found


def _is_whole(state: Mapping[str, Any], prefix: str, layout: str) -> bool:
    shapes = {}
    for key, value in state.items():
        became = _renamed(layout, str(key).removeprefix(prefix)) if str(key).startswith(prefix) else None
        if became and not became.endswith("num_batches_tracked") and hasattr(value, "shape"):
            shapes[became] = tuple(value.shape)
    try:
        arches.infer(shapes, "")
    except CheckpointError:
        return False
    return True


def _account(state: Mapping[str, Any], where: str, *, prefix: str, layout: str) -> Located:
    tensors: dict[str, Tensor] = {}
    originals: dict[str, Tensor] = {}
    fates, strange = [], []
    if nameless := [k for k in state if not isinstance(k, str)]:
        raise CheckpointError(
            f"{where}: the key {reprlib.repr(nameless[0])} among the trunk's tensors is a "
            f"{type(nameless[0]).__name__}; the keys of a state dict are text: mend the file, or get another"
        )
    for key, raw in state.items():
        value = as_tensor(raw)
        inside, rest = key.startswith(prefix), key.removeprefix(prefix)
        named = rest if inside else key
        if reason := next((why for pattern, why in _DROPPED if pattern.fullmatch(named)), None):
            fates.append(_fate(key, value, reason=reason))
        elif inside and (became := _renamed(layout, rest)):
            fates.append(_fate(key, value, became=became))
            tensors[became], originals[rest] = value, value
        elif inside and _OF_TRUNK.fullmatch(rest.partition(".")[0]):
            strange.append(key)
        else:
            why = "of no module of a trunk" if inside else f"not behind {prefix!r}, where the trunk is"
            fates.append(_fate(key, value, reason=why))
    if strange:
        raise CheckpointError(
            f"{where}: {len(strange)} keys are neither of a ResNe(X)t trunk nor known to be droppable:"
            f"{as_lines(strange, _SHOWN)}\nthe file is of another architecture (deep stem, "
            "squeeze-excitation, blur pooling, group norm, ...)"
        )
    return Located(layout, "", prefix, tensors, originals, fates)


def as_tensor(raw: Any) -> Any:
    """An array of numbers, as pickles hold them, as a tensor; anything else as it is."""
    return torch.from_numpy(raw) if isinstance(raw, np.ndarray) and raw.dtype.kind in "fiub" else raw


def _renamed(layout: str, key: str) -> str | None:
    try:
        became = _RENAME[layout](key)
        names.to_torchvision(became)
    except CheckpointError:
        return None
    return became


def _fate(key: str, value: Any, *, became: str | None = None, reason: str | None = None) -> KeyFate:
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
    shape = list(value.shape) if isinstance(value, Tensor) else []
    return KeyFate(key, "used" if became else "dropped", shape, dtype, became=became, reason=reason)
