"""``timm:NAME`` on a command line: what timm publishes under a tagged name, refused before it is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsl_det.backbone import arch, names
from wsl_det.backbone.conventions import Convention
from wsl_det.core import foreign
from wsl_det.errors import CheckpointError, ConfigError, DownloadError, first_line
from wsl_det.zoo.store import Store

SCHEME = "timm:"
# Of these layers a plain ResNe(X)t of timm's is made, beside its blocks and its pooling head.
_PLAIN = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Identity, nn.Linear}
_PLAIN |= {nn.AdaptiveAvgPool2d, nn.Flatten}


def described(name: str, pins: Store, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The file of timm's model ``name``, from its cache or downloaded, and ``options`` for ``sources.read``.

    Anything but a plain ResNe(X)t is refused before a byte is fetched. The first download's revision and
    hash are kept in ``pins``, the zoo's lock file, and later ones must equal it.
    """
    import timm
    from timm.models import get_pretrained_cfg

    model, _, tag = name.partition(".")
    if not tag:
        raise ConfigError(
            f"{SCHEME}{name} has no tag, and timm's choice changes between versions; give the whole name, "
            f"such as {SCHEME}resnet50.tv_in1k"
        )
    published = get_pretrained_cfg(name) if name in timm.list_pretrained(f"{model}.*") else None
    if published is None:
        known = ", ".join(timm.list_pretrained(f"{model}.*")[:8])
        others = f"; of this model: {known}" if known else ", nor that model"
        raise ConfigError(f"this timm publishes no {name}{others}")
    _check_plain(model)
    path = _fetched(name, str(published.hf_hub_id), pins)
    mean, std = (tuple(255 * float(v) for v in (values or ())) for values in (published.mean, published.std))
    if len(mean) == len(std) == 3 and not options.get("convention"):
        options["convention"] = Convention(f"timm's settings of {name}", "RGB", mean, std, False)  # type: ignore[arg-type]
    return str(path), {**options, "expect": options.get("expect") or model}


def _check_plain(model: str) -> None:
    import timm

    other = timm.models.model_entrypoint(model).__module__.rpartition(".")[2]
    if other == "resnet":
        with torch.device("meta"):
            built = timm.create_model(model, pretrained=False)
        leaves = (m for m in built.modules() if not list(m.children()))
        other = next((type(m).__name__ for m in leaves if type(m) not in _PLAIN), "")
        state = {k: v for k, v in built.state_dict().items() if not k.startswith("fc.") and v.ndim}
        try:
            arch.infer({names.to_detectron2(k): tuple(v.shape) for k, v in state.items()}, model)
        except CheckpointError:
            other = other or "other layers"
    if other:
        raise ConfigError(
            f"{SCHEME}{model} is not a plain ResNe(X)t, which is what this version reads: timm makes it of "
            f"{other}; nothing was downloaded. Choose one such as {SCHEME}resnet50.tv_in1k"
        )


def _fetched(name: str, hub_id: str, pins: Store) -> Path:
    from huggingface_hub import hf_hub_download

    # timm's own repositories are called after the model; the id is completed as timm does.
    repository = hub_id + name if hub_id.endswith("/") else hub_id
    revision, offline = pins.pinned(SCHEME + name).get("revision"), foreign.offline()
    try:
        found = hf_hub_download(repository, "model.safetensors", revision=revision, local_files_only=offline)
    except (OSError, ValueError, RuntimeError) as error:
        asking = f" ({foreign.OFFLINE} is set: nobody was asked)" if offline else ""
        raise DownloadError(
            f"{SCHEME}{name} is not in the cache and cannot be downloaded{asking} ({first_line(error)}); "
            "copy the file here and give its path"
        ) from None
    # Hugging Face's cache keeps a file in a folder called after its revision.
    pins.pin(SCHEME + name, Path(found), {"revision": Path(found).parent.name})
    return Path(found)
