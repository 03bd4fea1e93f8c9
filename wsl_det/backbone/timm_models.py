"""timm's models by name: which there are, and what each declares as a trunk, or why it can be none.

A new family of timm's needs nothing here: channels, strides and format come from its feature info, and by
what its inputs must be divisible is tried on tensors without storage.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wsl_det.errors import ConfigError, first_line

SCHEME = "timm:"
_STRIDES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}
# How timm's families are told that inputs come in other sizes than the configured one.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
_MOST_TIMES = 16
REFUSALS = (
    *(AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""What timm's models raise for inputs and options that they do not take."""


@dataclass(frozen=True)
class Declared:
    """What the engine must know of a trunk. ``features``: Detectron2's name of a stride (res2 is 4 pixels,
    res5 32) to timm's index of the last map that has it; inputs must be multiples of ``divisor`` pixels.
    ``resampled``: the patch of the published weights, where it is resampled to 16 pixels."""

    name: str
    features: dict[str, int]
    channels: dict[str, int]
    strides: dict[str, int]
    divisor: int
    options: Mapping[str, Any]
    config: Mapping[str, Any]
    resampled: int | None = None


@dataclass(frozen=True)
class TimmArchitecture:
    """A model of timm's by its name, with its tag or without."""

    model: str

    @property
    def name(self) -> str:
        return f"timm {self.model}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``meta`` holds them."""
        return {"timm": self.model}

    def config_keys(self) -> dict[str, Any]:
        """The keys that make the engines build it."""
        return {"MODEL.BACKBONE.NAME": "build_timm_fpn_backbone", "MODEL.TIMM.NAME": self.model}


def check_name(name: str) -> Any:
    """timm's configuration of a model, with its tag or without; ConfigError with the nearest names."""
    import timm
    from timm.models import get_deprecated_models, get_pretrained_cfg

    model, _, tag = name.partition(".")
    models = set(timm.list_models())
    if model not in models or model in get_deprecated_models():
        near = difflib.get_close_matches(model[:80], models, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"timm {timm.__version__} has no model {model[:80]!r}{hint}")
    if tag and not is_published(name):
        known = ", ".join(timm.list_pretrained(f"{model}.*")[:8])
        raise ConfigError(f"this timm publishes no {name}; of this model: {known or 'nothing'}")
    return get_pretrained_cfg(name) or get_pretrained_cfg(model)


def of_255(values: Sequence[float]) -> list[float]:
    """timm's mean or deviation of pixels 0-1 as those of 0-255."""
    return [round(255 * float(v), 6) for v in values]


def is_published(name: str) -> bool:
    """Whether timm knows weights of a model under this name, with its tag."""
    import timm

    return name in timm.list_pretrained(f"{name.partition('.')[0]}.*")


def create(name: str, options: Mapping[str, Any], **more: Any) -> nn.Module:
    """timm's model, its weights drawn from torch's global generator."""
    import timm

    with quiet():
        return any_size(timm.create_model(name, pretrained=False, **{**options, **more}))


def any_size(model: nn.Module) -> nn.Module:
    """``model`` in place, its patches cut from inputs of any size: whether the rest follows, is tried."""
    for module in model.modules():
        if getattr(module, "strict_img_size", False):
            module.strict_img_size = False  # type: ignore[assignment]
    return model


def pruned(model: nn.Module, features: Mapping[str, int]) -> nn.Module:
    """``model`` in place without what stands behind the last of the maps: head, final norm, later stages."""
    last = max(features.values())
    model.prune_intermediate_layers([last], prune_norm=True, prune_head=True)  # type: ignore[operator]
    return model


@functools.cache
def declared(name: str) -> Declared:
    """What timm's model ``name`` declares; ConfigError where no pyramid can be made of it."""
    config = check_name(name)
    if config.input_size[0] != 3:
        raise ConfigError(f"timm's {name} takes {config.input_size[0]} channels; photos have 3")
    with torch.device("meta"):
        model, options = _for_any_size(name)
        info = list(getattr(model, "feature_info", ()))
        if not info or not hasattr(model, "forward_intermediates"):
            raise ConfigError(f"timm's {name} has no spatial features; choose a trunk with maps")
        patch = {f["reduction"] for f in info}
        resampled = None
        if len(patch) == 1 and not patch & set(_STRIDES):
            resampled = int(patch.pop())
            model, options = _with_patch_16(name, resampled, options, config)
            info = list(model.feature_info)  # type: ignore[arg-type]
        found = {_STRIDES[f["reduction"]]: i for i, f in enumerate(info) if f["reduction"] in _STRIDES}
        if not found:
            steps = sorted({f["reduction"] for f in info})
            raise ConfigError(f"timm's {name} has maps of strides {steps}; a pyramid needs 4, 8, 16 or 32")
        by_stride = dict(sorted(found.items()))
        channels = {key: int(info[i]["num_chs"]) for key, i in by_stride.items()}
        strides = {key: int(info[i]["reduction"]) for key, i in by_stride.items()}
        known = Declared(name, by_stride, channels, strides, 1, options, config.to_dict(), resampled)
        divisor = _divisor(pruned(model.eval(), by_stride), known)
    return Declared(**{**vars(known), "divisor": divisor})


def _for_any_size(name: str) -> tuple[nn.Module, Mapping[str, Any]]:
    for options in _ANY_SIZE:
        try:
            return create(name, options), options
        except TypeError as error:
            if not options or "argument" not in str(error):
                raise ConfigError(f"timm cannot build {name}: {first_line(error)}") from None
    raise AssertionError


def _with_patch_16(
    name: str, patch: int, options: Mapping[str, Any], config: Any
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The model with patches of 16 pixels and the position embeddings of its own grid."""
    sides = [side // patch * 16 for side in config.input_size[1:]]
    options = {**options, "patch_size": 16, "img_size": sides}
    try:
        return create(name, options), options
    except REFUSALS as error:
        raise ConfigError(
            f"timm's {name} has patches of {patch} pixels; Detectron2's pooler wants strides that are powers "
            f"of two, and this model cannot be resampled to 16 ({first_line(error)})"
        ) from None


def _divisor(model: nn.Module, known: Declared) -> int:
    """The smallest multiple of the coarsest stride whose multiples the model takes, tried without storage."""
    coarsest, told = max(known.strides.values()), ""
    for times in range(1, _MOST_TIMES + 1):
        step = coarsest * times
        # Two coprime multiples pass only where the step itself divides.
        try:
            _check_maps(model, known, 2 * step, 3 * step)
            return step
        except REFUSALS as error:
            told = first_line(error)
    raise ConfigError(
        f"timm's {known.name} does not follow its input: no multiple of {coarsest} pixels up to "
        f"{coarsest * _MOST_TIMES} fits its windows and tables ({told}); it takes "
        f"{known.config['input_size'][1]} pixels only: choose another trunk"
    )


@torch.no_grad()
def _check_maps(model: nn.Module, known: Declared, height: int, width: int) -> None:
    maps = intermediates(model, torch.empty(1, 3, height, width, device="meta"), known.features)
    for key, found in maps.items():
        stride = known.strides[key]
        expected = (1, known.channels[key], height // stride, width // stride)
        if tuple(found.shape) != expected:
            raise ValueError(f"{key} is {tuple(found.shape)} where {expected} was expected")


def intermediates(model: nn.Module, x: torch.Tensor, features: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The maps of ``features`` as (N, C, H, W), whatever format the family computes in."""
    maps = model.forward_intermediates(  # type: ignore[operator]
        x, indices=sorted(features.values()), norm=False, output_fmt="NCHW", intermediates_only=True
    )
    return dict(zip(sorted(features, key=lambda key: features[key]), maps, strict=True))


@contextmanager
def quiet() -> Iterator[None]:
    """timm says on its log that it has no configuration of models without weights."""
    logger = logging.getLogger("timm")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
