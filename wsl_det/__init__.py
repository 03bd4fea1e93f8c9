"""Does hashtag pretraining buy a detector recognition or localization? Importing this loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "evaluation", "gain", "load_backbone"]


def load_backbone(path: str | Path, *, norm: str = "FrozenBN", freeze_at: int = 0) -> nn.Module:
    """The trunk in a backbone file (of ``export_backbone``) as a module for a training loop of one's own.

    The module takes photos (N, 3, H, W), RGB from 0 to 255, uint8 or floating, and gives features by stage,
    {"res2": (N, C, H/4, W/4), ..., "res5": (N, 8 C, H/32, W/32)}; it brings its own mean, deviation and order
    of channels, so none of them can be forgotten (``wsl_det.backbone.loaded.Backbone``). norm: "FrozenBN"
    (statistics and affine fixed, the usual choice for small batches), "BN" or "SyncBN" to train them.
    freeze_at: so many stages do not train, 1 the stem, 2 res2 too, ... 5 all. Raises CheckpointError for a
    file that is no backbone or is damaged, with the command that makes one, and for statistics that are
    folded away under a norm that would train them. Nothing in the file is executed.
    """
    return import_module("wsl_det.backbone.loaded").load(path, norm=norm, freeze_at=freeze_at)  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    """``wsl_det.gain`` and ``wsl_det.evaluation``, read when they are first asked for."""
    if name in ("evaluation", "gain"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
