"""``timm:NAME`` and ``hf-hub:ORG/NAME`` on a command line: what timm reads, fetched and held to its hash."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsl_det.backbone import arch, names, sources, timm_models, timm_source
from wsl_det.backbone.conventions import Convention
from wsl_det.backbone.timm_source import TimmSource
from wsl_det.core import files, foreign
from wsl_det.errors import CheckpointError, ConfigError, DataError, DownloadError, first_line
from wsl_det.zoo.store import Store

SCHEME, HUB = timm_models.SCHEME, "hf-hub:"
CERTIFICATE = "model.json"
WEIGHTS, SETTINGS = "model.safetensors", "config.json"
# Arguments of a model that leave its trunk as it is, or that the shapes of its tensors show.
_HARMLESS = {"num_classes", "global_pool", "drop_rate", "drop_path_rate", "in_chans"}
_HARMLESS |= {"cardinality", "base_width", "channels", "layers"}
# Of these layers a plain ResNe(X)t of timm's is made, beside its blocks and its pooling head.
_PLAIN = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Identity, nn.Linear}
_PLAIN |= {nn.AdaptiveAvgPool2d, nn.Flatten}


def described(name: str, pins: Store, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The file of timm's ResNe(X)t ``name``, cached or downloaded, and ``options`` for ``sources.read``.

    Anything but a plain one is refused before a byte is fetched. The first download's revision and hash are
    kept in ``pins``, the zoo's lock file, and later ones must equal it.
    """
    model, published = name.partition(".")[0], _published(name)
    if other := why_not_plain(model):
        raise ConfigError(
            f"{SCHEME}{model} is not a plain ResNe(X)t, which is needed here: timm makes it of {other}; "
            f"nothing was downloaded. Choose one such as {SCHEME}resnet50.tv_in1k"
        )
    path = _fetched(SCHEME + name, _repository(name, published), WEIGHTS, pins)
    mean, std = (tuple(255 * float(v) for v in (values or ())) for values in (published.mean, published.std))
    if len(mean) == len(std) == 3 and not options.get("convention"):
        options["convention"] = Convention(f"timm's settings of {name}", "RGB", mean, std, False)  # type: ignore[arg-type]
    return str(path), {**options, "expect": options.get("expect") or model}


def trunk(name: str, pins: Store) -> TimmSource:
    """Any model that timm publishes, under timm's own names."""
    published = _published(name)
    timm_models.declared(name)  # what can be no trunk is refused before a byte is fetched
    file = published.hf_hub_filename or WEIGHTS
    path = _fetched(SCHEME + name, _repository(name, published), file, pins)
    return timm_source.read(name, path, sources.load(path))


def from_hub(repository: str, pins: Store) -> TimmSource:
    """A model of a repository on Hugging Face's hub that timm can build, with the settings that lie there."""
    name, settings = hub_settings(repository, pins)
    tagged = f"{name}.{settings.get('tag')}"
    # Whoever trains timm's weights on publishes them with timm's tag in the settings.
    if timm_models.is_published(tagged) and _repository(tagged, _published(tagged)) == repository:
        name = tagged
    else:
        settings = {"license": None, "origin_url": None, "paper_ids": None, **settings}
    timm_models.declared(name)
    path = _fetched(f"{HUB}{repository}", repository, WEIGHTS, pins)
    return timm_source.read(name, path, sources.load(path), settings=settings)


def hub_settings(repository: str, pins: Store) -> tuple[str, dict[str, Any]]:
    """timm's name of a repository's model, and its settings."""
    known = f"{HUB}{repository}"
    told = files.read_json(_fetched(f"{known}/{SETTINGS}", repository, SETTINGS, pins), "settings")
    try:
        name, settings = str(told["architecture"]), dict(told.get("pretrained_cfg") or told)
        changed = {
            key: value for key, value in (told.get("model_args") or {}).items() if key not in _HARMLESS
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{known} holds no settings of timm's ({type(error).__name__}: {error})") from None
    if changed:
        raise DataError(
            f"{known} is timm's {name} with other layers ({str(changed)[:200]}), which its name does not "
            "tell, and a trunk is built by its name alone: nothing was written"
        )
    return name, settings


def hub_described(repository: str, pins: Store, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """As ``described``, of a plain ResNe(X)t in a repository; a certificate of ours comes with it."""
    _, settings = hub_settings(repository, pins)
    path = _fetched(f"{HUB}{repository}", repository, WEIGHTS, pins)
    with suppress(DownloadError):
        _fetched(f"{HUB}{repository}/{CERTIFICATE}", repository, CERTIFICATE, pins)
    mean, std = (tuple(255 * float(v) for v in settings.get(key) or ()) for key in ("mean", "std"))
    proved = path.with_name(CERTIFICATE).is_file()
    if not proved and len(mean) == len(std) == 3 and not options.get("convention"):
        options["convention"] = Convention(f"the settings of {HUB}{repository}", "RGB", mean, std, False)  # type: ignore[arg-type]
    return str(path), {**options, "expect": options.get("expect") or "any"}


def why_not_plain(model: str) -> str:
    """What makes timm's model another thing than a plain ResNe(X)t; empty for one."""
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
    return other


def _published(name: str) -> Any:
    if not name.partition(".")[2]:
        raise ConfigError(
            f"{SCHEME}{name} has no tag, and timm's choice changes between versions; give the whole name, "
            f"such as {SCHEME}resnet50.tv_in1k; weights that timm draws: --untrained"
        )
    return timm_models.check_name(name)


def _repository(name: str, published: Any) -> str:
    """timm's own repositories are called after the model; the id is completed as timm does."""
    if not published.hf_hub_id:
        raise ConfigError(
            f"{SCHEME}{name} is published at {published.url}, not on Hugging Face's hub; download it, and "
            f"give the file with --arch {SCHEME}{name}"
        )
    hub_id = str(published.hf_hub_id)
    return hub_id + name if hub_id.endswith("/") else hub_id


def _fetched(pinned: str, repository: str, file: str, pins: Store) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    revision, offline = pins.pinned(pinned).get("revision"), foreign.offline()
    try:
        found = hf_hub_download(repository, file, revision=revision, local_files_only=offline)
    except GatedRepoError:
        raise DownloadError(
            f"{pinned} has a licence that must be agreed to; read it at https://huggingface.co/{repository}, "
            "agree there, log in here with: hf auth login, and run this again"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        asking = f" ({foreign.OFFLINE} is set: nobody was asked)" if offline else ""
        raise DownloadError(
            f"{pinned} is not in the cache and cannot be downloaded{asking} ({first_line(error)}); "
            "copy the file here and give its path"
        ) from None
    # Hugging Face's cache keeps a file in a folder called after its revision.
    pins.pin(pinned, Path(found), {"revision": Path(found).parent.name})
    return Path(found)
