"""What a backbone says about its pretraining, in the few words that curves over many runs need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.shards import index
from pretrain.training import defaults, finish, job
from wsl_det.backbone.sources import Source
from wsl_det.core import config, log
from wsl_det.errors import WslError


def pretraining(source: Source) -> dict[str, Any] | None:
    """The record of the pretraining behind a backbone, or None when nothing tells of one.

    The keys of ``pretrain.training.record``, and beside them ``capacity`` (such as "ResNeXt-101 32x8d") and
    ``trunk_parameters``.
    """
    told = source.origin.get("pretraining")
    found = dict(told) if isinstance(told, Mapping) else _of_run(source)
    if not found:
        return None
    parameters = sum(v.numel() for k, v in source.weights.items() if "running_" not in k)
    return {**found, "capacity": source.arch.name, "trunk_parameters": parameters}


def view(source: Source) -> tuple[int, int] | None:
    """(size, resize) of the test crop that a pretraining run was measured with, when it says so."""
    for key in ("view", "pretraining"):
        told = source.origin.get(key)
        if isinstance(told, Mapping) and all(type(told.get(k)) is int for k in ("size", "resize")):
            return told["size"], told["resize"]
    settings = source.origin.get("config")
    pixels = settings.get("INPUT") if isinstance(settings, Mapping) else None
    if isinstance(pixels, Mapping) and all(type(pixels.get(k)) is int for k in ("SIZE", "TEST_RESIZE")):
        return pixels["SIZE"], pixels["TEST_RESIZE"]
    return None


def _of_run(source: Source) -> dict[str, Any]:
    """The record of a run of before runs wrote one: from its config, and its shards where they still lie."""
    settings = source.origin.get("config")
    if not isinstance(settings, Mapping) or "DATA" not in settings:
        return {}
    try:
        cfg = config.merge(defaults.TREE, settings, where=str(source.path))
        found = finish.record_of_config(cfg)
    except WslError:
        return {}
    found["dataset"], found["vocabulary"] = (source.origin.get(k) for k in ("dataset", "vocabulary"))
    try:
        posts = index.open_index(Path(cfg.DATA.SHARDS))
        if posts.vocabulary.sha256 == found["vocabulary"] and posts.name == found["dataset"]:
            found |= {"images": job.make_stream(cfg, posts).num_images, "classes": len(posts.vocabulary)}
    except (WslError, OSError):
        log.get("transfer").info(
            "the shards of %s are not here: its number of images is unknown", source.path
        )
    return found
