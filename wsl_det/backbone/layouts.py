"""Where in a file the trunk is: wrappers around it, prefix before it, names it is written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsl_det.backbone import names
from wsl_det.errors import CheckpointError

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
_SHOWN = 10

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
    several, or when a key is neither of the trunk nor known to be droppable.
    """
    chosen_prefix = prefix is not None
    found = _candidates(payload, wrapper, prefix)
    if not found:
        keys = ", ".join(str(k) for k in list(_first_dict(payload))[:6])
        raise CheckpointError(
            f"{where} holds no ResNe(X)t trunk under a known name (keys: {keys}, ...); expected "
            f"{', '.join(_LANDMARK.values())} behind any prefix"
        )
    if len(found) > 1:
        several = "\n  ".join(
            f"--wrapper {w or '(none)'} --prefix {p or '(none)'}" for w, p, _ in found[:_SHOWN]
        )
        raise CheckpointError(f"{where} holds {len(found)} trunks; choose one:\n  {several}")
    wrapper, prefix, layout = found[0]
    state = payload[wrapper] if wrapper else payload
    beside = [
        _fate(k, v, reason=f"not in {wrapper!r}, where the trunk is")
        for k, v in payload.items()
        if k != wrapper
    ]
    located = _account(state, where, prefix=prefix, layout=layout, outside_is_dropped=chosen_prefix)
    return replace(located, wrapper=wrapper, fates=located.fates + (beside if wrapper else []))


def _first_dict(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((v for v in payload.values() if isinstance(v, Mapping) and v), payload)


def _candidates(
    payload: Mapping[str, Any], wrapper: str | None, prefix: str | None
) -> list[tuple[str, str, str]]:
    """(wrapper, prefix, layout) of every trunk in the file."""
    boxes: dict[str, Mapping[str, Any]] = {"": payload}
    boxes |= {k: v for k, v in payload.items() if isinstance(v, Mapping)}
    found = []
    for name, box in boxes.items():
        for key in box:
            for layout, landmark in _LANDMARK.items():
                head = str(key).removesuffix(landmark)
                if head != key and (head == "" or head.endswith((".", "_", "/"))):
                    found.append((name, head, layout))
    if wrapper is not None:
        found = [f for f in found if f[0] == wrapper]
    if prefix is not None:
        found = [f for f in found if f[1] == prefix]
    return found


def _account(
    state: Mapping[str, Any], where: str, *, prefix: str, layout: str, outside_is_dropped: bool
) -> Located:
    tensors: dict[str, Tensor] = {}
    originals: dict[str, Tensor] = {}
    fates, strange = [], []
    for key, raw in state.items():
        value = torch.from_numpy(raw) if isinstance(raw, np.ndarray) and raw.dtype.kind in "fiub" else raw
        inside, rest = key.startswith(prefix), key.removeprefix(prefix)
        if reason := _reason(rest if inside else key):
            fates.append(_fate(key, value, reason=reason))
        elif inside and (became := _renamed(layout, rest)):
            fates.append(_fate(key, value, became=became))
            tensors[became], originals[rest] = value, value
        elif not inside and outside_is_dropped:
            fates.append(_fate(key, value, reason=f"outside the chosen prefix {prefix!r}"))
        else:
            strange.append(key)
    if strange:
        raise CheckpointError(
            f"{where}: {len(strange)} keys are neither of a ResNe(X)t trunk nor known to be droppable:\n  "
            + "\n  ".join(strange[:_SHOWN])
            + ("\n  ..." if len(strange) > _SHOWN else "")
            + "\nthe file is of another architecture (deep stem, squeeze-excitation, group norm, ...)"
        )
    return Located(layout, "", prefix, tensors, originals, fates)


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


def _reason(key: str) -> str | None:
    return next((reason for pattern, reason in _DROPPED if pattern.fullmatch(key)), None)
