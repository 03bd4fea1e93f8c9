"""A trunk of timm's with its weights: from a file, strictly, or as timm draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsl_det.backbone import artifact, batch_norm, layouts, soundness, timm_models
from wsl_det.backbone.layouts import KeyFate
from wsl_det.backbone.timm_models import Declared, TimmArchitecture
from wsl_det.core import files, foreign
from wsl_det.errors import CheckpointError, ConfigError, WslError, as_words, first_line

# What training scripts wrap around a model and its averaged copy, the better one first.
_BOXES = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("backbone.bottom_up.model.", "module.", "_orig_mod.")
_SHOWN = 6
_COUNTER = "num_batches_tracked"
_BEHIND = "stands behind the last map"


@dataclass(frozen=True, kw_only=True)
class TimmSource:
    """``model`` is timm's whole classifier, filled; ``weights`` the trunk's, float32, under timm's names.

    ``path`` and ``sha256`` are None for weights that timm drew from ``seed``; ``whole``: the file held the
    classifier, too.
    """

    arch: TimmArchitecture
    declared: Declared
    model: nn.Module
    weights: dict[str, Tensor]
    fates: list[KeyFate]
    bn: str
    path: Path | None = None
    sha256: str | None = None
    seed: int | None = None
    whole: bool = True


def untrained(name: str, seed: int) -> TimmSource:
    """timm's model with the weights that it begins with, drawn from ``seed``."""
    known = timm_models.declared(name)
    model = _classifier(known, seed)
    return _source(known, model, _floats(model.state_dict()), bn=batch_norm.INITIAL, seed=seed)


def read(
    name: str,
    path: Path,
    payload: Mapping[str, Any],
    *,
    prefix: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TimmSource:
    """The weights in a loaded file of timm's model ``name``, put into it by timm's own loader, strictly.

    What a model's authors call otherwise timm renames; a classifier may have any number of classes, or be
    absent. ``settings`` are laid over timm's own of that name. Raises CheckpointError for a file of another
    architecture.
    """
    if artifact.looks_like(payload):
        raise CheckpointError(f"{path} is an artifact already: MODEL.WEIGHTS {path} reads it as it is")
    known = timm_models.declared(name)
    known = replace(known, config={**known.config, **(settings or {})})
    given = soundness.as_float32(_tensors(payload, prefix, str(path)), str(path))
    drawn = _classifier(known, 0)
    own = _floats(drawn.state_dict())
    of_trunk = _floats(timm_models.pruned(_classifier(known, 0), known.features).state_dict())
    lost = own.keys() - given.keys()
    whole = not (lost and given.keys() <= own.keys() and not lost & of_trunk.keys())
    full = given if whole else {**given, **{key: own[key] for key in lost}}
    model, missed = _filled(known, full, str(path))
    if absent := sorted(of_trunk.keys() & missed):
        raise CheckpointError(
            f"{path} is not the whole of timm's {name}: it lacks {as_words(absent, _SHOWN)}; get the "
            "complete file"
        )
    about = {"path": path, "sha256": files.sha256(path), "whole": whole and not missed & own.keys()}
    made = _source(known, model, given, bn=batch_norm.NONE, **about)
    return replace(made, bn=batch_norm.of_statistics(made.weights, str(path)))


def _source(known: Declared, model: nn.Module, given: Mapping[str, Tensor], **more: Any) -> TimmSource:
    own = _floats(model.state_dict())
    with torch.device("meta"):
        cut = timm_models.pruned(timm_models.create(known.name, known.options), known.features)
    weights = {key: own[key] for key in _floats(cut.state_dict())}
    fates = []
    for key, value in given.items():
        about: dict[str, Any] = {"key": key, "shape": list(value.shape), "dtype": "float32"}
        if key not in own:
            fates.append(KeyFate(**about, fate="used", became="renamed by timm's own loader"))
        elif key in weights:
            fates.append(KeyFate(**about, fate="used", became=key))
        else:
            fates.append(KeyFate(**about, fate="dropped", reason=_BEHIND))
    arch = TimmArchitecture(known.name)
    return TimmSource(arch=arch, declared=known, model=model.eval(), weights=weights, fates=fates, **more)


def _classifier(known: Declared, seed: int, **more: Any) -> nn.Module:
    with torch.random.fork_rng([]), torch.device("cpu"):
        torch.manual_seed(seed)
        return timm_models.create(known.name, known.options, **more)


def _filled(known: Declared, state: Mapping[str, Tensor], where: str) -> tuple[nn.Module, set[str]]:
    """timm's classifier with ``state`` through timm's own filter of names, and the names that it lacks."""
    import timm

    head = known.config.get("classifier")
    head = head[0] if isinstance(head, list | tuple) else head
    classes = state[f"{head}.weight"].shape[0] if f"{head}.weight" in state else known.config["num_classes"]
    own: dict[str, Any] = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    try:
        with torch.random.fork_rng([]), timm_models.quiet(), _missed() as missed:
            made = timm.create_model(
                known.name, pretrained=True, pretrained_cfg_overlay=own, num_classes=classes, **known.options
            )
            return timm_models.any_size(made), missed
    except timm_models.REFUSALS as error:
        if foreign.is_lack_of_memory(error):
            raise WslError(
                f"the memory that is left does not hold timm's {known.name} ({first_line(error):.200}); end "
                "other programs, or use a machine with more"
            ) from None
        told = " ".join(str(error).split())[:400] or first_line(error)
        raise CheckpointError(
            f"{where} is not timm's {known.name}: its tensors do not fit ({told}); get the right file, or say"
            " which model it is of: --arch timm:NAME"
        ) from None


@contextmanager
def _missed() -> Iterator[set[str]]:
    """What models lack of what they load: some of timm's families load what there is, without a word."""
    load: Any = nn.Module.load_state_dict
    missed: set[str] = set()

    def heard(self: nn.Module, *args: Any, **more: Any) -> Any:
        found = load(self, *args, **more)
        missed.update(found.missing_keys)
        return found

    nn.Module.load_state_dict = heard  # type: ignore[method-assign]
    try:
        yield missed
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]


def _tensors(payload: Mapping[str, Any], prefix: str | None, where: str) -> dict[str, Any]:
    for box in _BOXES:
        if isinstance(payload.get(box), Mapping):
            payload = payload[box]
            break
    found = {str(k): layouts.as_tensor(v) for k, v in payload.items()}
    found = {k: v for k, v in found.items() if isinstance(v, Tensor)}
    for start in (prefix,) if prefix else _PREFIXES:
        if any(k.startswith(start) for k in found):
            found = {k.removeprefix(start): v for k, v in found.items() if k.startswith(start)}
    kept = {k: v for k, v in found.items() if not k.endswith(_COUNTER) and v.is_floating_point()}
    if not kept:
        raise CheckpointError(f"{where} holds no tensors of a model under names that are known here")
    return kept


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith(_COUNTER) and v.is_floating_point()}


def named(text: str) -> str:
    """``timm:NAME`` without its scheme; ConfigError for an empty name."""
    name = text.removeprefix(timm_models.SCHEME)
    if not name:
        raise ConfigError(
            f"{timm_models.SCHEME} names no model; give one, such as timm:convnext_tiny.fb_in22k"
        )
    return name
